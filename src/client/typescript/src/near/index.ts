export { NearCache } from "./cache.js";
export type { NearOptions, NearStats, Want } from "./cache.js";
export type { FillOptions, Filling } from "./fills.js";
