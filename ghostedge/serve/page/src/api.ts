// Talk to the computer: what is asked goes through in the end, or is refused in one line.

import type { InputSpec } from "./preprocess.js";
import type { Rules } from "./engine.js";

export interface Model {
  number: number;
  file: string;
  sha256: string;
  size_bytes: number;
  precision: string;
  input: InputSpec;
  labels: string[];
  golden: { file: string; images: number } | null;
}

export interface Job {
  litert_js: string;
  models: Model[];
  images: { count: number; browser_decodes: boolean } | null;
  rules: Rules;
}

/** What the computer does not take, and why; trying again would not help. */
export class RefusedError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** Called when the computer stops or begins to answer. */
export const line = { changed: (_problem: string): void => {} };

const WAITS_S = [0.5, 1, 2, 4, 8];

/** Ask until there is an answer: a phone sleeps, Wi-Fi goes, the command is started again. */
export async function ask(path: string, body?: object): Promise<ArrayBuffer> {
  const init = body && { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  for (let attempt = 0; ; attempt++) {
    let problem = "The computer does not answer. It is asked again; nothing is lost.";
    try {
      const response = await fetch(path, init);
      if (response.ok) {
        const content = await response.arrayBuffer(); // here too the line may break
        line.changed("");
        return content;
      }
      if (response.status === 403) {
        throw new RefusedError("This page is of another run of ghostedge serve: scan its QR code again.", 403);
      }
      const told = (await response.json().catch(() => ({}))) as { error?: string };
      if (response.status !== 429 && response.status < 500) throw new RefusedError(told.error ?? response.statusText, response.status);
      if (response.status !== 429) problem = `The computer says: ${told.error ?? response.statusText}. It is asked again.`;
      else problem = "";
    } catch (error) {
      if (error instanceof RefusedError || error instanceof RangeError) throw error; // or no memory for it
    }
    if (problem) line.changed(problem);
    const seconds = WAITS_S[Math.min(attempt, WAITS_S.length - 1)]!;
    await new Promise((resolve) => setTimeout(resolve, 1e3 * seconds));
  }
}

export async function askJson<T>(path: string, body?: object): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await ask(path, body))) as T;
}

/** float32 in base64, which JSON can hold whatever the numbers are. */
export function base64(values: Float32Array): string {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}
