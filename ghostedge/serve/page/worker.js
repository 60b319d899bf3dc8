"use strict";
// Start the engine in a worker, so that the page stays alive while a model runs. A classic script and no module: LiteRT.js
// loads WebAssembly by importScripts, which modules do not have.
const engine = import("./engine.js");
self.onmessage = (event) => void engine.then(({ handle }) => handle(event));
