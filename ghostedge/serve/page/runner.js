// A model in a worker of its own, as a fresh process: asked by message, ended when it is no longer needed.
import { ask } from "./api.js";
export class Runner {
    model;
    accelerator;
    threads;
    worker = new Worker("worker.js");
    waiting = new Map();
    asked = 0;
    loaded;
    constructor(model, accelerator, threads) {
        this.model = model;
        this.accelerator = accelerator;
        this.threads = threads;
        this.worker.onmessage = ({ data }) => {
            const waiting = this.waiting.get(data.number);
            if (!waiting)
                return;
            if (data.progress)
                return waiting.tell(data.progress.text, data.progress.done, data.progress.total);
            this.waiting.delete(data.number);
            if (data.error === undefined)
                waiting.resolve(data.value);
            else
                waiting.reject(new Error(data.error));
        };
        this.worker.onerror = (event) => this.fail(event.message || "the worker that runs the model ended");
    }
    /** Fetch a model and load it. */
    static async open(model, accelerator, threads, tell) {
        const runner = new Runner(model, accelerator, threads);
        tell("fetching the model", 0, 0);
        const content = await ask(`models/${model.number}`);
        tell("loading", 0, 0);
        try {
            const task = { model: content, spec: model.input, accelerator, threads };
            runner.loaded = await runner.ask("load", task, tell, [content]);
        }
        catch (error) {
            runner.close();
            throw error;
        }
        return runner;
    }
    /** What the computer is told of how this model is run. */
    get setting() {
        const { accelerator, threads } = this;
        return { sha256: this.model.sha256, accelerator, threads, build: this.loaded.build };
    }
    ask(name, task, tell = () => { }, moved = []) {
        const number = ++this.asked;
        return new Promise((resolve, reject) => {
            this.waiting.set(number, { resolve, reject, tell });
            this.worker.postMessage({ number, name, task }, moved);
        });
    }
    fail(text) {
        for (const { reject } of this.waiting.values())
            reject(new Error(text));
        this.waiting.clear();
    }
    close() {
        this.worker.terminate();
        this.fail("stopped");
    }
}
