// Start the engine in a worker, so that the page stays alive while a model runs. A classic script and no module: LiteRT.js
// loads WebAssembly by importScripts, which modules do not have.
const engine: Promise<{ handle: (event: MessageEvent) => void }> = import("./engine.js" as string);
self.onmessage = (event: MessageEvent): void => void engine.then(({ handle }) => handle(event));
