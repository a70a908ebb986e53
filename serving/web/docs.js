// Swagger UI over our own document. Nothing is asked outside: the badge of its makers' validator is off.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
