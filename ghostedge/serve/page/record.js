// What the computer makes of a run, as far as the page shows it.
/** Rows of a table for people. */
export function checkedRows({ snr_db, finite, top1_agreement, golden, bounds, repeats }) {
    const same = `all ${repeats.inferences} answers to one picture are the same`;
    return [
        ["Distance from MindSpore", !finite ? "not finite" : snr_db === null ? "identical" : `${snr_db.toFixed(1)} dB (bound ${bounds.min_snr_db} dB)`],
        ["Same best class", `${Math.round(top1_agreement * golden.images)} of ${golden.images} pictures`],
        ["Again and again", repeats.identical ? same : `answer ${repeats.first_different} to one picture differs from the first`],
    ];
}
