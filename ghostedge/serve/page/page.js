// The page: four things to do with a model, one at a time, and what comes of them.
import { ask, askJson, base64, line, RefusedError } from "./api.js";
import { abilities, awake, hasSimd, power, remembered, thisPhone } from "./device.js";
import { cropOf, cropOfVideo, show } from "./pictures.js";
import { checkedRows } from "./record.js";
import { Runner } from "./runner.js";
const find = (selector, within = document) => within.querySelector(selector);
const element = (name, text, kind = "") => {
    const made = document.createElement(name);
    made.textContent = text;
    made.className = kind;
    return made;
};
let job;
let phone;
let busy = null;
/** One of the four sections; one of them works at a time. */
class Task {
    root;
    stop;
    bar;
    status;
    result;
    phase = "";
    stopped = false;
    constructor(id) {
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
    runner = null;
    /** Show how far the work is; screen readers hear of each phase once. */
    tell = (text, done, total) => {
        if (text !== this.phase)
            this.status.textContent = `${(this.phase = text)} …`;
        this.bar.setAttribute("aria-label", text);
        if (total)
            Object.assign(this.bar, { value: done, max: total });
        else
            this.bar.removeAttribute("value");
    };
    /** Forget what was shown: it is of another model. */
    clear() {
        this.say("");
        this.result.replaceChildren();
        for (const canvas of this.root.querySelectorAll("canvas"))
            canvas.hidden = true;
    }
    say(text) {
        this.phase = "";
        this.status.textContent = text;
    }
    async run(work) {
        if (busy)
            return;
        busy = this;
        Object.assign(this, { stopped: false });
        this.stop.hidden = this.bar.hidden = false;
        refresh();
        try {
            await awake(work);
        }
        catch (error) {
            this.say(this.stopped ? "Stopped." : `It did not work: ${error instanceof Error ? error.message : String(error)}`);
            if (error instanceof RefusedError && error.message.includes("reload"))
                line.changed(error.message);
        }
        finally {
            this.runner?.close();
            this.runner = busy = null;
            this.stop.hidden = this.bar.hidden = true;
            refresh();
        }
    }
    async open() {
        const { accelerator, threads } = chosen();
        this.runner = await Runner.open(model(), accelerator, threads, this.tell);
        if (this.stopped)
            throw new Error("stopped");
        return this.runner;
    }
    /** A verdict in words and a sign, and rows of a table. */
    show(kind, verdict, rows) {
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
const model = () => job.models[Number(find("#model").value)];
function chosen() {
    const [accelerator, threads] = find("#where").value.split("-");
    return { accelerator: accelerator, threads: Number(threads) };
}
const here = () => `phones/${phone.id}/models/${model().number}`;
async function join() {
    phone.name = find("#name").value.trim() || "phone";
    remembered("ghostedge-name", phone.name);
    await ask("phones", phone);
}
// -- Check and measure ------------------------------------------------------------------------------------------------
const packed = (values) => values && base64(values);
async function checked(task, runner) {
    task.tell("fetching golden pictures", 0, 0);
    const crops = await ask(`models/${model().number}/golden`);
    const found = await runner.ask("check", { crops, pictures: model().golden.images, rules: job.rules }, task.tell, [crops]);
    const { first_ms, answers, first, worst, ...further } = found;
    return [found, { ...further, answers: packed(answers), first: packed(first), worst: packed(worst) }];
}
async function check(task) {
    await join();
    const runner = await task.open();
    const [{ first_ms }, answers] = await checked(task, runner);
    const { build: _, ...loaded } = runner.loaded;
    const message = { setting: runner.setting, mode: "quick", ...loaded, first_ms, checked: answers };
    const record = await askJson(`${here()}/runs`, message);
    const found = record.verification;
    task.say("Done; the computer has it.");
    task.show(found.correct ? "pass" : "fail", found.correct ? "Right" : `Wrong: ${found.reason}`, checkedRows(found));
}
async function measure(task, mode) {
    await join();
    const before = await power();
    const runner = await task.open();
    const [check, answers] = model().golden ? await checked(task, runner) : [null, null];
    const hidden_s = [];
    let started = 0;
    const looked = () => {
        if (started && document.visibilityState === "hidden" && hidden_s.length < 1000)
            hidden_s.push((performance.now() - started) / 1e3);
    };
    document.addEventListener("visibilitychange", looked);
    const tell = (text, done, total) => {
        if (text === "timing" && !started) {
            started = performance.now();
            looked(); // it may have been left during the warm-up
        }
        else if (text === "timed")
            started = 0;
        task.tell(text, done, total);
    };
    const { first_ms, ...timed } = await runner
        .ask("time", { mode, rules: job.rules }, tell)
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
    const record = await askJson(`${here()}/runs`, body);
    const milliseconds = (name) => `${record.latency_ms[name].toFixed(2)} ms`;
    task.say("Done; the computer has it.");
    const wrong = record.verification && !record.verification.correct;
    task.show(wrong ? "fail" : record.valid ? "pass" : "inconclusive", `${milliseconds("p50")}${record.valid ? "" : ", not a valid number"}`, [
        ["p50, p90, p99", ["p50", "p90", "p99"].map(milliseconds).join(", ")],
        ["Load, first", `${record.load_ms.toFixed(0)} ms, ${record.first_ms.toFixed(1)} ms`],
        ...(record.verification ? checkedRows(record.verification) : []),
        ...record.invalid_reasons.map(({ text }) => ["Not valid", text]),
        ...record.warnings.map(({ text }) => ["Note", text]),
    ]);
}
const BATCH = 8;
const AHEAD = 3;
async function fetchImage(image) {
    const { number, input } = model();
    try {
        const content = await ask(`models/${number}/images/${image}`);
        if (job.images.browser_decodes)
            return { image, crop: await cropOf(new Blob([content]), input, false) };
        const bytes = 3 * input.height * input.width;
        return { image, crop: content.byteLength === bytes ? new Uint8Array(content) : new Float32Array(content) };
    }
    catch (error) {
        if (error instanceof RefusedError && error.status !== 422)
            throw error;
        return { image, reason: error.message.slice(0, 200) };
    }
}
async function evaluate(task) {
    await join();
    const runner = await task.open();
    task.runner = null; // pausing ends the loop after the picture that is under way
    const told = (progress) => {
        const right = progress.top1 === null ? "" : `, ${(100 * progress.top1).toFixed(1)}% right`;
        task.tell("evaluating", progress.done, progress.total);
        task.result.replaceChildren(element("p", `${progress.done} of ${progress.total} images${right}`));
    };
    try {
        const { left, ...before } = await askJson(`${here()}/left`, runner.setting);
        told(before);
        const coming = [];
        let batch = { images: [], logits: [], failed: [] };
        let progress = before;
        const send = async () => {
            const logits = new Float32Array(batch.logits.reduce((sum, row) => sum + row.length, 0));
            batch.logits.reduce((at, row) => (logits.set(row, at), at + row.length), 0);
            const body = { setting: runner.setting, images: batch.images, failed: batch.failed, logits: base64(logits) };
            told((progress = await askJson(`${here()}/rows`, body)));
            batch = { images: [], logits: [], failed: [] };
        };
        while ((left.length || coming.length) && !task.stopped) {
            while (left.length && coming.length < AHEAD) {
                const next = fetchImage(left.shift());
                next.catch(() => { }); // it is reported when its turn comes
                coming.push(next);
            }
            const fetched = await coming.shift();
            if ("crop" in fetched) {
                batch.logits.push(await runner.ask("answer", { crop: fetched.crop }));
                batch.images.push(fetched.image);
            }
            else {
                batch.failed.push(fetched);
            }
            if (batch.images.length + batch.failed.length >= BATCH)
                await send();
        }
        if (batch.images.length + batch.failed.length)
            await send();
        task.say(progress.done < progress.total ? "Paused; the computer has what is done." : "Done; the computer has the ledger.");
    }
    finally {
        runner.close();
    }
}
// -- Try --------------------------------------------------------------------------------------------------------------
function showBest(task, logits) {
    const values = [...logits];
    const most = Math.max(...values);
    const chances = values.map((value) => Math.exp(value - most));
    const sum = chances.reduce((total, value) => total + value, 0);
    const best = values.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b);
    const named = (i) => model().labels[i]?.split(",")[0] ?? `class ${i}`;
    task.result.replaceChildren(...best.slice(0, 5).map((i) => element("li", `${named(i)} ${((100 * chances[i]) / sum).toFixed(1)}%`)));
}
async function classify(task, runner, crop) {
    const canvas = find("canvas", task.root);
    const logits = await runner.ask("answer", { crop });
    show(crop, model().input, canvas);
    canvas.hidden = false;
    showBest(task, logits);
}
async function tryPhoto(task, file) {
    const crop = await cropOf(file, model().input, true);
    await classify(task, await task.open(), crop);
    task.say("");
}
async function tryCamera(task) {
    if (!navigator.mediaDevices)
        throw new Error("browsers give a page the camera by HTTPS only: start ghostedge serve with --https");
    const video = find("video", task.root);
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    try {
        video.srcObject = stream;
        await video.play();
        const runner = await task.open();
        task.tell("looking", 0, 0);
        while (!task.stopped) {
            const crop = cropOfVideo(video, model().input);
            if (crop)
                await classify(task, runner, crop);
            await new Promise(requestAnimationFrame);
        }
        task.say("");
    }
    finally {
        for (const track of stream.getTracks())
            track.stop();
    }
}
// -- The page itself --------------------------------------------------------------------------------------------------
function option(value, text, why = "") {
    const made = new Option(why ? `${text}: ${why}` : text, value);
    made.disabled = Boolean(why);
    return made;
}
async function showAbilities() {
    const can = await abilities();
    const lines = Object.values(can).flatMap(({ name, has, text }) => [element("dt", name), element("dd", `${has ? "yes" : "no"}: ${text}`)]);
    find("#abilities").replaceChildren(...lines);
    const counts = [...new Set([2, 4, phone.cores ?? 1])].filter((count) => count > 1 && count <= (phone.cores ?? 1)).sort((a, b) => a - b);
    const why = (ability) => (ability.has ? "" : ability.text);
    find("#where").replaceChildren(option("wasm-1", "WebAssembly, 1 thread"), ...counts.map((count) => option(`wasm-${count}`, `WebAssembly, ${count} threads`, why(can.threads))), option("webgpu-1", "WebGPU", why(can.webgpu)), option("webnn-1", "WebNN", why(can.webnn)));
}
/** What can be done now. */
function refresh() {
    const off = Boolean(busy) || !hasSimd() || !job;
    for (const button of document.querySelectorAll(".task button:not(.stop)"))
        button.disabled = off;
    for (const field of document.querySelectorAll(".fields > *, #photo"))
        field.disabled = off;
    find("label[for=photo]").classList.toggle("disabled", off);
    if (!job)
        return;
    find("#golden").hidden = !model().golden;
    find("#no-golden").hidden = Boolean(model().golden);
    find("#check .start").disabled ||= !model().golden;
    find("#evaluate .start").disabled ||= !job.images;
    find("#try .start").disabled ||= !navigator.mediaDevices;
}
async function start() {
    const lasting = hasSimd() ? "" : "This browser has no WebAssembly SIMD, which models run in: update it, or take another one.";
    line.changed = (problem) => {
        const shown = find("#line");
        shown.textContent = problem || lasting;
        shown.hidden = !shown.textContent;
    };
    line.changed("");
    refresh();
    phone = await thisPhone();
    job = await askJson("job");
    find("#name").value = phone.name;
    find("#model").replaceChildren(...job.models.map(({ number, file, size_bytes }) => option(`${number}`, `${file}, ${(size_bytes / 1e6).toFixed(1)} MB`)));
    find("#runtime").textContent = `LiteRT.js ${job.litert_js}`;
    const decoded = job.images?.browser_decodes ? "decoded by this browser" : "decoded by the computer, so that models alone are compared";
    find("#images").textContent = job.images
        ? `How accurate is it on ${job.images.count} labelled images, ${decoded}?`
        : "How accurate is it on labelled images? The computer serves none: start ghostedge serve with --data.";
    await showAbilities();
    const tasks = { check: new Task("check"), measure: new Task("measure"), evaluate: new Task("evaluate"), try: new Task("try") };
    const starts = (task, work, button = ".start") => {
        find(button, task.root).onclick = () => void task.run(work);
    };
    starts(tasks.check, () => check(tasks.check));
    starts(tasks.measure, () => measure(tasks.measure, "full"));
    starts(tasks.measure, () => measure(tasks.measure, "quick"), ".quick");
    starts(tasks.evaluate, () => evaluate(tasks.evaluate));
    starts(tasks.try, () => tryCamera(tasks.try));
    find("#photo").onchange = ({ target }) => {
        const file = target.files?.[0];
        if (file)
            void tasks.try.run(() => tryPhoto(tasks.try, file));
    };
    find("#model").onchange = () => {
        for (const task of Object.values(tasks))
            task.clear();
        refresh();
    };
    await join();
    refresh();
    document.body.dataset["ready"] = "yes";
}
void start().catch((error) => line.changed(error instanceof Error ? error.message : String(error)));
