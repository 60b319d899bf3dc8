// A model in a worker of its own, as a fresh process: asked by message, ended when it is no longer needed.

import { ask, type Model } from "./api.js";
import type { Accelerator, Loaded, Tasks, Tell } from "./engine.js";

interface Reply {
  number: number;
  value?: unknown;
  error?: string;
  progress?: { text: string; done: number; total: number };
}

interface Waiting {
  resolve: (value: never) => void;
  reject: (error: Error) => void;
  tell: Tell;
}

export class Runner {
  private readonly worker = new Worker("worker.js");
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;
  loaded!: Loaded;

  private constructor(
    readonly model: Model,
    readonly accelerator: Accelerator,
    readonly threads: number,
  ) {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      const waiting = this.waiting.get(data.number);
      if (!waiting) return;
      if (data.progress) return waiting.tell(data.progress.text, data.progress.done, data.progress.total);
      this.waiting.delete(data.number);
      if (data.error === undefined) waiting.resolve(data.value as never);
      else waiting.reject(new Error(data.error));
    };
    this.worker.onerror = (event) => this.fail(event.message || "the worker that runs the model ended");
  }

  /** Fetch a model and load it. */
  static async open(model: Model, accelerator: Accelerator, threads: number, tell: Tell): Promise<Runner> {
    const runner = new Runner(model, accelerator, threads);
    tell("fetching the model", 0, 0);
    const content = await ask(`models/${model.number}`);
    tell("loading", 0, 0);
    try {
      const task = { model: content, spec: model.input, accelerator, threads };
      runner.loaded = await runner.ask<Loaded>("load", task, tell, [content]);
    } catch (error) {
      runner.close();
      throw error;
    }
    return runner;
  }

  /** What the computer is told of how this model is run. */
  get setting(): object {
    const { accelerator, threads } = this;
    return { sha256: this.model.sha256, accelerator, threads, build: this.loaded.build };
  }

  ask<T>(name: keyof Tasks, task: Tasks[keyof Tasks], tell: Tell = () => {}, moved: Transferable[] = []): Promise<T> {
    const number = ++this.asked;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(number, { resolve, reject, tell });
      this.worker.postMessage({ number, name, task }, moved);
    });
  }

  private fail(text: string): void {
    for (const { reject } of this.waiting.values()) reject(new Error(text));
    this.waiting.clear();
  }

  close(): void {
    this.worker.terminate();
    this.fail("stopped");
  }
}
