// Run a model in LiteRT.js: load it, ask it golden pictures, time it, answer single pictures. Runs in a worker.

import { build } from "./loader.js";
import { encode, type InputSpec, type Pixels } from "./preprocess.js";

export type Accelerator = "wasm" | "webgpu" | "webnn";

export interface Rules {
  repeats: { most: number; limit_s: number; fewest: number };
  full: Timing;
  quick: Timing;
  steady: { windows: number; spread: number; min_samples: number };
  watch_every_s: number;
  overhead_samples: number;
}

interface Timing {
  min_samples: number;
  min_seconds: number;
  window_s: number;
  warmup_limit_s: number;
}

export interface Loaded {
  import_ms: number;
  load_ms: number;
  build: string;
  /** Whether the accelerator takes all of the model's operators. */
  whole: boolean;
}

export interface Checked {
  first_ms: number;
  answers: Float32Array;
  first: Float32Array;
  inferences: number;
  duration_s: number;
  first_different: number | null;
  worst: Float32Array | null;
}

export interface Timed {
  first_ms: number;
  warmup: object;
  samples_ms: number[];
  duration_s: number;
  overhead_us: number;
  clock_ms: number;
  output: Float32Array;
  again: Float32Array | null;
}

/** What the page asks, by its name. */
export interface Tasks {
  load: { model: ArrayBuffer; spec: InputSpec; accelerator: Accelerator; threads: number };
  check: { crops: ArrayBuffer; pictures: number; rules: Rules };
  time: { mode: "full" | "quick"; rules: Rules };
  answer: { crop: Pixels };
}

export type Tell = (text: string, done: number, total: number) => void;

// LiteRT.js as far as it is used here.
interface Tensor {
  data(): Promise<Float32Array>;
  delete(): void;
}
interface Compiled {
  readonly isFullyAccelerated: boolean;
  getOutputDetails(): readonly { dtype: string }[];
  readonly options: { accelerator: string };
  run(inputs: Tensor[]): Promise<Tensor[]>;
}
interface LiteRtJs {
  loadLiteRt(path: string, options: { threads?: boolean; jspi?: boolean }): Promise<unknown>;
  loadAndCompile(model: Uint8Array, options: object): Promise<Compiled>;
  Tensor: new (data: Pixels, shape: number[]) => Tensor;
}

let litert: LiteRtJs;
let model: Compiled;
let spec: InputSpec;
let firstCrop: Uint8Array | null = null;

async function infer(input: Pixels): Promise<Float32Array> {
  const shape = spec.layout === "NHWC" ? [1, spec.height, spec.width, 3] : [1, 3, spec.height, spec.width];
  const tensor = new litert.Tensor(input, shape);
  try {
    const [output, ...others] = await model.run([tensor]);
    const values = await output!.data();
    for (const each of [output!, ...others]) each.delete();
    return values;
  } finally {
    tensor.delete();
  }
}

const TYPES = "LiteRT.js takes float32 or uint8 inputs and float32 outputs: export it with these; inside it may be int8.";

async function load(task: Tasks["load"]): Promise<Loaded> {
  const started = performance.now();
  litert = (await import("./litert/index.js" as string)) as LiteRtJs;
  const threads = task.accelerator === "wasm" && task.threads > 1;
  // A GPU that does not take all operators leaves the others to WebAssembly, which needs to wait for it (JSPI).
  const jspi = task.accelerator !== "wasm" && "Suspending" in WebAssembly;
  await litert.loadLiteRt("litert/wasm/", threads ? { threads } : jspi ? { jspi } : {});
  const imported = performance.now();
  spec = task.spec;
  const options = {
    accelerator: task.accelerator,
    cpuOptions: { numThreads: task.threads },
    gpuOptions: { precision: "fp32" },
    webNNOptions: { precision: "fp32" },
  };
  model = await litert.loadAndCompile(new Uint8Array(task.model), options).catch((error: Error) => {
    throw /Element type \w+ is not supported/.test(error.message) ? new Error(`${error.message} ${TYPES}`) : error;
  });
  const given = model.getOutputDetails()[0]?.dtype;
  if (given !== "float32") throw new Error(`The model gives ${given}. ${TYPES}`);
  if (model.options.accelerator !== task.accelerator) {
    throw new Error(`${task.accelerator} does not take all of this model's operators here; choose WebAssembly`);
  }
  const whole = task.accelerator === "wasm" || model.isFullyAccelerated;
  return { import_ms: imported - started, load_ms: performance.now() - imported, build: build(), whole };
}

function same(one: Float32Array, two: Float32Array): boolean {
  return one.every((value, i) => Object.is(value, two[i]));
}

function distance(one: Float32Array, two: Float32Array): number {
  const sum = one.reduce((total, value, i) => total + (value - two[i]!) ** 2, 0);
  return Number.isFinite(sum) ? sum : Infinity;
}

async function check({ crops, pictures, rules }: Tasks["check"], tell: Tell): Promise<Checked> {
  const size = crops.byteLength / pictures;
  const crop = (number: number): Uint8Array => new Uint8Array(crops, number * size, size);
  firstCrop = crop(0);
  const input = encode(firstCrop, spec);
  const started = performance.now();
  const first = await infer(input);
  const first_ms = performance.now() - started;
  const seconds = (): number => (performance.now() - started) / 1e3;
  const { most, limit_s, fewest } = rules.repeats;
  let [inferences, last, told] = [1, first, 0];
  let [first_different, worst]: [number | null, Float32Array | null] = [null, null];
  while (inferences < most && (inferences < fewest || seconds() < limit_s)) {
    last = await infer(input);
    inferences++;
    if (!same(first, last)) {
      first_different ??= inferences;
      if (!worst || distance(first, last) > distance(first, worst)) worst = last;
    }
    if (seconds() > told + 0.2) tell("one picture again and again", inferences, most + pictures), (told = seconds());
  }
  const answers = new Float32Array(pictures * first.length);
  answers.set(last); // a driver that is right only the first time has wrong answers
  for (let number = 1; number < pictures; number++) {
    answers.set(await infer(encode(crop(number), spec)), number * first.length);
    tell("golden pictures", most + number, most + pictures);
  }
  return { first_ms, answers, first, inferences, duration_s: seconds(), first_different, worst };
}

function median(values: number[]): number {
  const ordered = [...values].sort((a, b) => a - b);
  const middle = ordered.length >> 1;
  return ordered.length % 2 ? ordered[middle]! : (ordered[middle - 1]! + ordered[middle]!) / 2;
}

/** As collect() of ghostedge/latency/edge/timing.py. */
async function collect(
  run: () => Promise<unknown>,
  least: number,
  leastSeconds: number,
  mostSeconds = Infinity,
  watch: { every_s: number; look: (seconds: number, samples: number) => void } | null = null,
): Promise<[number[], number]> {
  const samples: number[] = [];
  const started = performance.now();
  let next = watch ? watch.every_s : Infinity;
  for (;;) {
    const before = performance.now();
    await run();
    const after = performance.now();
    samples.push(after - before);
    const elapsed = (after - started) / 1e3;
    if ((samples.length >= least && elapsed >= leastSeconds) || elapsed >= mostSeconds) return [samples, elapsed];
    if (elapsed >= next) {
      watch!.look(elapsed, samples.length);
      next = elapsed + watch!.every_s;
    }
  }
}

async function warmUp(run: () => Promise<unknown>, timing: Timing, steady: Rules["steady"], tell: Tell): Promise<object> {
  const [medians, started]: [number[], number] = [[], performance.now()];
  let [samples, elapsed]: [number, number] = [0, 0];
  let spread: number | null = null;
  while (elapsed < timing.warmup_limit_s && (spread === null || spread > steady.spread)) {
    const [window] = await collect(run, steady.min_samples, timing.window_s, timing.warmup_limit_s - elapsed);
    samples += window.length;
    medians.push(median(window));
    const last = medians.slice(-steady.windows);
    const lowest = Math.min(...last);
    spread = last.length === steady.windows && lowest > 0 ? Math.max(...last) / lowest - 1 : null;
    elapsed = (performance.now() - started) / 1e3;
    tell("warming up", 0, 0);
  }
  return {
    samples,
    duration_s: elapsed,
    steady: spread !== null && spread <= steady.spread,
    spread_percent: spread === null ? null : 100 * spread,
    window_medians_ms: medians,
  };
}

/** The smallest step of the clock that is seen within some milliseconds. */
function clockStep(): number {
  const started = performance.now();
  let [last, step] = [started, Infinity];
  while (last - started < 20) {
    const now = performance.now();
    if (now > last) step = Math.min(step, now - last);
    last = now;
  }
  return step;
}

async function time({ mode, rules }: Tasks["time"], tell: Tell): Promise<Timed> {
  const timing = rules[mode];
  const noise = new Uint8Array(3 * spec.height * spec.width).map((_, i) => Math.imul(i, 0x9e3779b1) >>> 24);
  const input = encode(noise, spec);
  let output = new Float32Array();
  const run = async (): Promise<void> => {
    output = await infer(input) as Float32Array<ArrayBuffer>;
  };
  const started = performance.now();
  await run();
  const first_ms = performance.now() - started;
  const warmup = await warmUp(run, timing, rules.steady, tell);
  tell("timing", 0, timing.min_seconds);
  const look = (seconds: number): void => tell("timing", Math.min(seconds, timing.min_seconds), timing.min_seconds);
  const every_s = Math.min(rules.watch_every_s, timing.min_seconds / 4);
  const [samples_ms, duration_s] = await collect(run, timing.min_samples, timing.min_seconds, Infinity, { every_s, look });
  tell("timed", 1, 1);
  const nothing = async (): Promise<void> => {};
  const [empty] = await collect(nothing, rules.overhead_samples, 0);
  const mean = empty.reduce((sum, value) => sum + value, 0) / empty.length; // the clock is too coarse for a median
  const again = firstCrop && (await infer(encode(firstCrop, spec)));
  return { first_ms, warmup, samples_ms, duration_s, overhead_us: 1e3 * mean, clock_ms: clockStep(), output, again };
}

/** A question of the page; the answer goes back with its number, and progress before it. */
export function handle(event: MessageEvent): void {
  const { number, name, task } = event.data as { number: number; name: keyof Tasks; task: never };
  const post = (message: object): void => (self as unknown as Worker).postMessage({ number, ...message });
  const tell: Tell = (text, done, total) => post({ progress: { text, done, total } });
  const tasks = { load, check, time, answer: ({ crop }: Tasks["answer"]) => infer(encode(crop, spec)) };
  const work = tasks[name] as (task: never, tell: Tell) => Promise<unknown>;
  work(task, tell).then(
    (value) => post({ value }),
    (error: unknown) => post({ error: error instanceof Error ? error.message : String(error) }),
  );
}
