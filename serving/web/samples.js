// Notes to begin with, where there are none.

const ABOUT = {
  "food/baking": [["sourdough", "A first sourdough that rose"], ["cake", "Lemon cake in one bowl"], ["sourdough", "What cold proofing changes"], ["bread", "Rye for people in a hurry"]],
  "food/coffee": [["espresso", "Dialling in with a cheap grinder"], ["filter", "Three recipes for the same beans"], ["espresso", "Milk that pours like paint"], ["filter", "Water matters more than you think"]],
  "outdoor/hiking": [["hiking", "A ridge walk for a clear morning"], ["camping", "Sleeping dry in the rain"], ["hiking", "What I leave at home now"], ["camping", "One pot, four dinners"]],
  "home/plants": [["plants", "Ferns that forgive"], ["balcony", "Tomatoes on two square metres"], ["plants", "Repotting without the mess"], ["balcony", "A herb box for the shade"]],
  "craft/ceramics": [["ceramics", "Centring, at last"], ["glaze", "A celadon that behaves"], ["ceramics", "Handles that do not crack"], ["glaze", "Reading test tiles"]],
  "city/walks": [["museums", "The quiet hour in the big museum"], ["bookshops", "Five bookshops, one tram line"], ["museums", "Drawing in the sculpture hall"], ["bookshops", "Second-hand on a Sunday"]],
};
const AUTHORS = ["ada", "bo", "cleo", "dov", "ema", "fay"];

export const SAMPLES = Object.entries(ABOUT).flatMap(([channel, notes], i) =>
  notes.map(([tag, title], k) => ({
    note_id: `sample-${tag}-${k}`, author_id: AUTHORS[(i + k) % AUTHORS.length], title, channel, tags: [tag, channel.split("/")[1]].filter((one, at, all) => all.indexOf(one) === at), media: "image", status: "published",
  })));
