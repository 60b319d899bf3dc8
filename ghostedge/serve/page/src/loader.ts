// Load a build of LiteRT.js: what npm's @litertjs/wasm-utils does, for a worker, and with the places of its other files.

declare function importScripts(url: string): void;

type Factory = (settings: object) => Promise<unknown>;

let loaded = "";

/** The build that was loaded: the name of its file, without its suffix. */
export function build(): string {
  return loaded;
}

/** Called by LiteRT.js with its class and the address of a build. */
export async function createWasmLib<T>(kind: new (module: unknown) => T, address: string): Promise<T> {
  const script = new URL(address, self.location.href).href;
  importScripts(script);
  loaded = script.slice(script.lastIndexOf("/") + 1).replace(".js", "");
  const factory = (self as unknown as { ModuleFactory: Factory }).ModuleFactory;
  const module = await factory({
    locateFile: (name: string) => new URL(name, script).href,
    mainScriptUrlOrBlob: script, // for the workers of the build with threads
  });
  return new kind(module);
}
