// What the computer makes of a run, as far as the page shows it.

export interface Verification {
  snr_db: number | null;
  finite: boolean;
  top1_agreement: number;
  golden: { images: number };
  bounds: { min_snr_db: number };
  repeats: { inferences: number; identical: boolean; first_different: number | null };
  correct: boolean;
  reason: string | null;
}

export interface RunRecord {
  verification: Verification | null;
  load_ms: number;
  first_ms: number;
  latency_ms: Record<string, number>;
  valid: boolean;
  invalid_reasons: { text: string }[];
  warnings: { text: string }[];
}

/** Rows of a table for people. */
export function checkedRows({ snr_db, finite, top1_agreement, golden, bounds, repeats }: Verification): [string, string][] {
  const same = `all ${repeats.inferences} answers to one picture are the same`;
  return [
    ["Distance from MindSpore", !finite ? "not finite" : snr_db === null ? "identical" : `${snr_db.toFixed(1)} dB (bound ${bounds.min_snr_db} dB)`],
    ["Same best class", `${Math.round(top1_agreement * golden.images)} of ${golden.images} pictures`],
    ["Again and again", repeats.identical ? same : `answer ${repeats.first_different} to one picture differs from the first`],
  ];
}
