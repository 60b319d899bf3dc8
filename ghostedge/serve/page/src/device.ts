// What this phone and its browser are and can do.

export interface Phone {
  id: string;
  name: string;
  user_agent: string;
  model: string | null;
  system: string | null;
  architecture: string | null;
  cores: number | null;
  memory_gib: number | null;
}

export interface Power {
  source: "mains" | "battery" | null;
  battery_percent: number | null;
}

interface Hints {
  model?: string;
  platform?: string;
  platformVersion?: string;
  architecture?: string;
  bitness?: string;
}

type More = Navigator & {
  userAgentData?: { getHighEntropyValues(names: string[]): Promise<Hints> };
  deviceMemory?: number;
  getBattery?: () => Promise<{ charging: boolean; level: number }>;
  ml?: unknown;
  gpu?: { requestAdapter(): Promise<unknown> };
};

const browser = navigator as More;

/** Storage that may be closed to the page (private windows): then this visit is a phone of its own. */
export function remembered(key: string, value?: string): string | null {
  try {
    if (value !== undefined) localStorage.setItem(key, value);
    return localStorage.getItem(key);
  } catch {
    return value ?? null;
  }
}

function drawnId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function thisPhone(): Promise<Phone> {
  const names = ["model", "platform", "platformVersion", "architecture", "bitness"];
  const hints: Hints = (await browser.userAgentData?.getHighEntropyValues(names).catch(() => ({}))) ?? {};
  const told = /\(([^;)]+);\s*([^;)]+)(?:;\s*([^;)]+))?/.exec(navigator.userAgent);
  const android = /Android [\d.]+/.exec(navigator.userAgent)?.[0];
  const system = [hints.platform, hints.platformVersion].filter(Boolean).join(" ") || (android ?? told?.[1] ?? null);
  const id = remembered("ghostedge-id") ?? drawnId();
  remembered("ghostedge-id", id);
  const model = hints.model || null;
  return {
    id,
    name: remembered("ghostedge-name") || model || system || "phone",
    user_agent: navigator.userAgent.slice(0, 500),
    model,
    system,
    architecture: [hints.architecture, hints.bitness].filter(Boolean).join(" ") || null,
    cores: navigator.hardwareConcurrency ?? null,
    memory_gib: browser.deviceMemory ?? null,
  };
}

export async function power(): Promise<Power> {
  const battery = await browser.getBattery?.().catch(() => null);
  if (!battery) return { source: null, battery_percent: null };
  return { source: battery.charging ? "mains" : "battery", battery_percent: Math.round(100 * battery.level) };
}

export interface Ability {
  name: string;
  has: boolean;
  /** What it is for, or why it is missing. */
  text: string;
}

// A function that loads a vector: valid where the browser has WebAssembly SIMD.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

export function hasSimd(): boolean {
  return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(SIMD));
}

export async function abilities(): Promise<Record<"simd" | "threads" | "webgpu" | "webnn" | "camera" | "battery" | "awake", Ability>> {
  const https = "needs HTTPS: start ghostedge serve with --https";
  const secure = (has: boolean, what: string): string => (has ? what : isSecureContext ? "not in this browser" : https);
  const adapter = await browser.gpu?.requestAdapter().catch(() => null);
  const gpu = browser.gpu && !adapter ? "the browser has it, but finds no GPU" : "";
  const camera = Boolean(navigator.mediaDevices);
  return {
    simd: { name: "WebAssembly SIMD", has: hasSimd(), text: hasSimd() ? "what models run in" : "missing: models cannot run in this browser; update it" },
    threads: { name: "Threads", has: crossOriginIsolated, text: secure(crossOriginIsolated, "several at once") },
    webgpu: { name: "WebGPU", has: Boolean(adapter), text: gpu || secure(Boolean(adapter), "models can run on the GPU") },
    webnn: { name: "WebNN", has: Boolean(browser.ml), text: secure(Boolean(browser.ml), "models can run on other hardware") },
    camera: { name: "Camera", has: camera, text: secure(camera, "for Try") },
    battery: { name: "Battery", has: Boolean(browser.getBattery), text: secure(Boolean(browser.getBattery), "is recorded with latencies") },
    awake: { name: "Stay awake", has: "wakeLock" in navigator, text: secure("wakeLock" in navigator, "the screen stays on while models run") },
  };
}

/** Keep the screen on while `work` goes on, where the browser can. */
export async function awake<T>(work: () => Promise<T>): Promise<T> {
  let lock: WakeLockSentinel | null = null;
  const take = async (): Promise<void> => {
    if (document.visibilityState === "visible") lock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  };
  await take();
  document.addEventListener("visibilitychange", take); // the lock ends whenever the page is left
  try {
    return await work();
  } finally {
    document.removeEventListener("visibilitychange", take);
    await (lock as WakeLockSentinel | null)?.release().catch(() => {});
  }
}
