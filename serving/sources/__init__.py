"""Where candidates come from: one file a source, named as in `config.records.SOURCES`."""
