// Load a build of LiteRT.js: what npm's @litertjs/wasm-utils does, for a worker, and with the places of its other files.
let loaded = "";
/** The build that was loaded: the name of its file, without its suffix. */
export function build() {
    return loaded;
}
/** Called by LiteRT.js with its class and the address of a build. */
export async function createWasmLib(kind, address) {
    const script = new URL(address, self.location.href).href;
    importScripts(script);
    loaded = script.slice(script.lastIndexOf("/") + 1).replace(".js", "");
    const factory = self.ModuleFactory;
    const module = await factory({
        locateFile: (name) => new URL(name, script).href,
        mainScriptUrlOrBlob: script, // for the workers of the build with threads
    });
    return new kind(module);
}
