// The page: four things to do with a model, one at a time, and what comes of them.

import { ask, askJson, base64, line, RefusedError, type Job, type Model } from "./api.js";
import { abilities, awake, hasSimd, power, remembered, thisPhone, type Phone } from "./device.js";
import type { Accelerator, Checked, Timed } from "./engine.js";
import { cropOf, cropOfVideo, show } from "./pictures.js";
import type { Pixels } from "./preprocess.js";
import { checkedRows, type RunRecord } from "./record.js";
import { Runner } from "./runner.js";

const find = <T extends HTMLElement>(selector: string, within: ParentNode = document): T => within.querySelector<T>(selector)!;
const element = (name: string, text: string, kind = ""): HTMLElement => {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = kind;
  return made;
};

let job: Job;
let phone: Phone;
let busy: Task | null = null;

/** One of the four sections; one of them works at a time. */
class Task {
  readonly root: HTMLElement;
  readonly stop: HTMLButtonElement;
  private readonly bar: HTMLProgressElement;
  private readonly status: HTMLElement;
  readonly result: HTMLElement;
  private phase = "";
  stopped = false;

  constructor(id: string) {
    this.root = find(`#${id}`);
    this.stop = find(".stop", this.root);
    this.bar = find("progress", this.root);
    this.status = find(".status", this.root);
    this.result = find(".result", this.root);
    this.stop.onclick = () => {
      this.stopped = true;
      this.runner?.close();
    };
  }

  /** The runner that stopping ends; null where the work ends by itself. */
  runner: Runner | null = null;

  /** Show how far the work is; screen readers hear of each phase once. */
  readonly tell = (text: string, done: number, total: number): void => {
    if (text !== this.phase) this.status.textContent = `${(this.phase = text)} …`;
    this.bar.setAttribute("aria-label", text);
    if (total) Object.assign(this.bar, { value: done, max: total });
    else this.bar.removeAttribute("value");
  };

  /** Forget what was shown: it is of another model. */
  clear(): void {
    this.say("");
    this.result.replaceChildren();
    for (const canvas of this.root.querySelectorAll("canvas")) canvas.hidden = true;
  }

  say(text: string): void {
    this.phase = "";
    this.status.textContent = text;
  }

  async run(work: () => Promise<void>): Promise<void> {
    if (busy) return;
    busy = this;
    Object.assign(this, { stopped: false });
    this.stop.hidden = this.bar.hidden = false;
    refresh();
    try {
      await awake(work);
    } catch (error) {
      this.say(this.stopped ? "Stopped." : `It did not work: ${error instanceof Error ? error.message : String(error)}`);
      if (error instanceof RefusedError && error.message.includes("reload")) line.changed(error.message);
    } finally {
      this.runner?.close();
      this.runner = busy = null;
      this.stop.hidden = this.bar.hidden = true;
      refresh();
    }
  }

  async open(): Promise<Runner> {
    const { accelerator, threads } = chosen();
    this.runner = await Runner.open(model(), accelerator, threads, this.tell);
    if (this.stopped) throw new Error("stopped");
    return this.runner;
  }

  /** A verdict in words and a sign, and rows of a table. */
  show(kind: string, verdict: string, rows: [string, string][]): void {
    const table = document.createElement("table");
    for (const [name, value] of rows) {
      const row = table.insertRow();
      const head = element("th", name);
      head.setAttribute("scope", "row");
      row.append(head, element("td", value));
    }
    this.result.replaceChildren(element("p", verdict, `verdict ${kind}`), table);
  }
}

const model = (): Model => job.models[Number(find<HTMLSelectElement>("#model").value)]!;

function chosen(): { accelerator: Accelerator; threads: number } {
  const [accelerator, threads] = find<HTMLSelectElement>("#where").value.split("-");
  return { accelerator: accelerator as Accelerator, threads: Number(threads) };
}

const here = (): string => `phones/${phone.id}/models/${model().number}`;

async function join(): Promise<void> {
  phone.name = find<HTMLInputElement>("#name").value.trim() || "phone";
  remembered("ghostedge-name", phone.name);
  await ask("phones", phone);
}

// -- Check and measure ------------------------------------------------------------------------------------------------

const packed = (values: Float32Array | null): string | null => values && base64(values);

async function checked(task: Task, runner: Runner): Promise<[Checked, object]> {
  task.tell("fetching golden pictures", 0, 0);
  const crops = await ask(`models/${model().number}/golden`);
  const found = await runner.ask<Checked>("check", { crops, pictures: model().golden!.images, rules: job.rules }, task.tell, [crops]);
  const { first_ms, answers, first, worst, ...further } = found;
  return [found, { ...further, answers: packed(answers), first: packed(first), worst: packed(worst) }];
}

async function check(task: Task): Promise<void> {
  await join();
  const runner = await task.open();
  const [{ first_ms }, answers] = await checked(task, runner);
  const { build: _, ...loaded } = runner.loaded;
  const message = { setting: runner.setting, mode: "quick", ...loaded, first_ms, checked: answers };
  const record = await askJson<RunRecord>(`${here()}/runs`, message);
  const found = record.verification!;
  task.say("Done; the computer has it.");
  task.show(found.correct ? "pass" : "fail", found.correct ? "Right" : `Wrong: ${found.reason}`, checkedRows(found));
}

async function measure(task: Task, mode: "full" | "quick"): Promise<void> {
  await join();
  const before = await power();
  const runner = await task.open();
  const [check, answers] = model().golden ? await checked(task, runner) : [null, null];
  const hidden_s: number[] = [];
  let started = 0;
  const looked = (): void => {
    if (started && document.visibilityState === "hidden" && hidden_s.length < 1000) hidden_s.push((performance.now() - started) / 1e3);
  };
  document.addEventListener("visibilitychange", looked);
  const tell = (text: string, done: number, total: number): void => {
    if (text === "timing" && !started) {
      started = performance.now();
      looked(); // it may have been left during the warm-up
    } else if (text === "timed") started = 0;
    task.tell(text, done, total);
  };
  const { first_ms, ...timed } = await runner
    .ask<Timed>("time", { mode, rules: job.rules }, tell)
    .finally(() => document.removeEventListener("visibilitychange", looked));
  const { build: _, ...loaded } = runner.loaded;
  const body = {
    setting: runner.setting,
    mode,
    ...loaded,
    first_ms: check?.first_ms ?? first_ms,
    checked: answers,
    timed: { ...timed, output: packed(timed.output), again: packed(timed.again), hidden_s, before, after: await power() },
  };
  const record = await askJson<RunRecord>(`${here()}/runs`, body);
  const milliseconds = (name: string): string => `${record.latency_ms[name]!.toFixed(2)} ms`;
  task.say("Done; the computer has it.");
  const wrong = record.verification && !record.verification.correct;
  task.show(
    wrong ? "fail" : record.valid ? "pass" : "inconclusive",
    `${milliseconds("p50")}${record.valid ? "" : ", not a valid number"}`,
    [
      ["p50, p90, p99", ["p50", "p90", "p99"].map(milliseconds).join(", ")],
      ["Load, first", `${record.load_ms.toFixed(0)} ms, ${record.first_ms.toFixed(1)} ms`],
      ...(record.verification ? checkedRows(record.verification) : []),
      ...record.invalid_reasons.map(({ text }): [string, string] => ["Not valid", text]),
      ...record.warnings.map(({ text }): [string, string] => ["Note", text]),
    ],
  );
}

// -- Evaluate ---------------------------------------------------------------------------------------------------------

interface Progress {
  done: number;
  total: number;
  top1: number | null;
}

const BATCH = 8;
const AHEAD = 3;

type Fetched = { image: number; crop: Pixels } | { image: number; reason: string };

async function fetchImage(image: number): Promise<Fetched> {
  const { number, input } = model();
  try {
    const content = await ask(`models/${number}/images/${image}`);
    if (job.images!.browser_decodes) return { image, crop: await cropOf(new Blob([content]), input, false) };
    const bytes = 3 * input.height * input.width;
    return { image, crop: content.byteLength === bytes ? new Uint8Array(content) : new Float32Array(content) };
  } catch (error) {
    if (error instanceof RefusedError && error.status !== 422) throw error;
    return { image, reason: (error as Error).message.slice(0, 200) };
  }
}

async function evaluate(task: Task): Promise<void> {
  await join();
  const runner = await task.open();
  task.runner = null; // pausing ends the loop after the picture that is under way
  const told = (progress: Progress): void => {
    const right = progress.top1 === null ? "" : `, ${(100 * progress.top1).toFixed(1)}% right`;
    task.tell("evaluating", progress.done, progress.total);
    task.result.replaceChildren(element("p", `${progress.done} of ${progress.total} images${right}`));
  };
  try {
    const { left, ...before } = await askJson<Progress & { left: number[] }>(`${here()}/left`, runner.setting);
    told(before);
    const coming: Promise<Fetched>[] = [];
    let batch: { images: number[]; logits: Float32Array[]; failed: object[] } = { images: [], logits: [], failed: [] };
    let progress: Progress = before;
    const send = async (): Promise<void> => {
      const logits = new Float32Array(batch.logits.reduce((sum, row) => sum + row.length, 0));
      batch.logits.reduce((at, row) => (logits.set(row, at), at + row.length), 0);
      const body = { setting: runner.setting, images: batch.images, failed: batch.failed, logits: base64(logits) };
      told((progress = await askJson<Progress>(`${here()}/rows`, body)));
      batch = { images: [], logits: [], failed: [] };
    };
    while ((left.length || coming.length) && !task.stopped) {
      while (left.length && coming.length < AHEAD) {
        const next = fetchImage(left.shift()!);
        next.catch(() => {}); // it is reported when its turn comes
        coming.push(next);
      }
      const fetched = await coming.shift()!;
      if ("crop" in fetched) {
        batch.logits.push(await runner.ask<Float32Array>("answer", { crop: fetched.crop }));
        batch.images.push(fetched.image);
      } else {
        batch.failed.push(fetched);
      }
      if (batch.images.length + batch.failed.length >= BATCH) await send();
    }
    if (batch.images.length + batch.failed.length) await send();
    task.say(progress.done < progress.total ? "Paused; the computer has what is done." : "Done; the computer has the ledger.");
  } finally {
    runner.close();
  }
}

// -- Try --------------------------------------------------------------------------------------------------------------

function showBest(task: Task, logits: Float32Array): void {
  const values = [...logits];
  const most = Math.max(...values);
  const chances = values.map((value) => Math.exp(value - most));
  const sum = chances.reduce((total, value) => total + value, 0);
  const best = values.map((_, i) => i).sort((a, b) => values[b]! - values[a]! || a - b);
  const named = (i: number): string => model().labels[i]?.split(",")[0] ?? `class ${i}`;
  task.result.replaceChildren(...best.slice(0, 5).map((i) => element("li", `${named(i)} ${((100 * chances[i]!) / sum).toFixed(1)}%`)));
}

async function classify(task: Task, runner: Runner, crop: Uint8Array): Promise<void> {
  const canvas = find<HTMLCanvasElement>("canvas", task.root);
  const logits = await runner.ask<Float32Array>("answer", { crop });
  show(crop, model().input, canvas);
  canvas.hidden = false;
  showBest(task, logits);
}

async function tryPhoto(task: Task, file: File): Promise<void> {
  const crop = await cropOf(file, model().input, true);
  await classify(task, await task.open(), crop);
  task.say("");
}

async function tryCamera(task: Task): Promise<void> {
  if (!navigator.mediaDevices) throw new Error("browsers give a page the camera by HTTPS only: start ghostedge serve with --https");
  const video = find<HTMLVideoElement>("video", task.root);
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  try {
    video.srcObject = stream;
    await video.play();
    const runner = await task.open();
    task.tell("looking", 0, 0);
    while (!task.stopped) {
      const crop = cropOfVideo(video, model().input);
      if (crop) await classify(task, runner, crop);
      await new Promise(requestAnimationFrame);
    }
    task.say("");
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}

// -- The page itself --------------------------------------------------------------------------------------------------

function option(value: string, text: string, why = ""): HTMLOptionElement {
  const made = new Option(why ? `${text}: ${why}` : text, value);
  made.disabled = Boolean(why);
  return made;
}

async function showAbilities(): Promise<void> {
  const can = await abilities();
  const lines = Object.values(can).flatMap(({ name, has, text }) => [element("dt", name), element("dd", `${has ? "yes" : "no"}: ${text}`)]);
  find("#abilities").replaceChildren(...lines);
  const counts = [...new Set([2, 4, phone.cores ?? 1])].filter((count) => count > 1 && count <= (phone.cores ?? 1)).sort((a, b) => a - b);
  const why = (ability: { has: boolean; text: string }): string => (ability.has ? "" : ability.text);
  find("#where").replaceChildren(
    option("wasm-1", "WebAssembly, 1 thread"),
    ...counts.map((count) => option(`wasm-${count}`, `WebAssembly, ${count} threads`, why(can.threads))),
    option("webgpu-1", "WebGPU", why(can.webgpu)),
    option("webnn-1", "WebNN", why(can.webnn)),
  );
}

/** What can be done now. */
function refresh(): void {
  const off = Boolean(busy) || !hasSimd() || !job;
  for (const button of document.querySelectorAll<HTMLButtonElement>(".task button:not(.stop)")) button.disabled = off;
  for (const field of document.querySelectorAll<HTMLInputElement>(".fields > *, #photo")) field.disabled = off;
  find("label[for=photo]").classList.toggle("disabled", off);
  if (!job) return;
  find("#golden").hidden = !model().golden;
  find("#no-golden").hidden = Boolean(model().golden);
  find<HTMLButtonElement>("#check .start").disabled ||= !model().golden;
  find<HTMLButtonElement>("#evaluate .start").disabled ||= !job.images;
  find<HTMLButtonElement>("#try .start").disabled ||= !navigator.mediaDevices;
}

async function start(): Promise<void> {
  const lasting = hasSimd() ? "" : "This browser has no WebAssembly SIMD, which models run in: update it, or take another one.";
  line.changed = (problem) => {
    const shown = find("#line");
    shown.textContent = problem || lasting;
    shown.hidden = !shown.textContent;
  };
  line.changed("");
  refresh();
  phone = await thisPhone();
  job = await askJson<Job>("job");
  find<HTMLInputElement>("#name").value = phone.name;
  find("#model").replaceChildren(...job.models.map(({ number, file, size_bytes }) => option(`${number}`, `${file}, ${(size_bytes / 1e6).toFixed(1)} MB`)));
  find("#runtime").textContent = `LiteRT.js ${job.litert_js}`;
  const decoded = job.images?.browser_decodes ? "decoded by this browser" : "decoded by the computer, so that models alone are compared";
  find("#images").textContent = job.images
    ? `How accurate is it on ${job.images.count} labelled images, ${decoded}?`
    : "How accurate is it on labelled images? The computer serves none: start ghostedge serve with --data.";
  await showAbilities();
  const tasks = { check: new Task("check"), measure: new Task("measure"), evaluate: new Task("evaluate"), try: new Task("try") };
  const starts = (task: Task, work: () => Promise<void>, button = ".start"): void => {
    find(button, task.root).onclick = () => void task.run(work);
  };
  starts(tasks.check, () => check(tasks.check));
  starts(tasks.measure, () => measure(tasks.measure, "full"));
  starts(tasks.measure, () => measure(tasks.measure, "quick"), ".quick");
  starts(tasks.evaluate, () => evaluate(tasks.evaluate));
  starts(tasks.try, () => tryCamera(tasks.try));
  find<HTMLInputElement>("#photo").onchange = ({ target }) => {
    const file = (target as HTMLInputElement).files?.[0];
    if (file) void tasks.try.run(() => tryPhoto(tasks.try, file));
  };
  find("#model").onchange = () => {
    for (const task of Object.values(tasks)) task.clear();
    refresh();
  };
  await join();
  refresh();
  document.body.dataset["ready"] = "yes";
}

void start().catch((error: unknown) => line.changed(error instanceof Error ? error.message : String(error)));
