import type { KernelCase } from "../check.ts";
import { widenBf16 } from "../elementwise.ts";
import { matmul, matmulReference } from "./matmul.ts";
import { type FormCase, matrixForm, rowsForm, stagedForm } from "./matmul-form.cases.ts";

// Products that read activations in bf16, and products that store them so, in every form.

type Form = Pick<FormCase, "name" | "tile" | "tolerance" | "needs">;

/** What the adapter chooses. */
const OWN: Omit<Form, "tile"> & { tile?: Form["tile"] } = { name: "the adapter's form", tolerance: 4e-6 };

/** Half a step of bf16, relative to a number. */
const HALF_STEP = 2 ** -8;

/** `a` in bf16. */
function reads(form: typeof OWN, kind: "nt" | "nn" | "tn", [m, n, k]: readonly [number, number, number]): KernelCase {
  const [transA, transB] = [kind[0] === "t", kind[1] === "t"];
  return {
    kernel: "matmulBf16",
    name: `${form.name}, ${kind} [${m},${n},${k}] of bf16`,
    tolerance: form.tolerance,
    needs: form.needs,
    run(check) {
      const tile = form.tile?.(check.gpu);
      const a = check.input(transA ? [k, m] : [m, k], "a", 1, "bf16");
      const b = check.input(transB ? [n, k] : [k, n], "b");
      const want = matmulReference(a.values, b.values, [m, n, k], { transA, transB });
      check.compare("c", matmul(check.record, a.tensor, b.tensor, { transA, transB, tile }), want);
    },
  };
}

/** `c` in bf16. */
function stores(form: typeof OWN, [m, n, k]: readonly [number, number, number]): KernelCase {
  return {
    kernel: "matmulBf16",
    name: `${form.name}, nt [${m},${n},${k}] to bf16`,
    tolerance: form.tolerance + HALF_STEP,
    needs: form.needs,
    run(check) {
      const tile = form.tile?.(check.gpu);
      const [a, b] = [check.input([m, k], "a"), check.input([n, k], "b", 1, "bf16")];
      const into = check.record.empty([m, n], "bf16", "c");
      matmul(check.record, a.tensor, b.tensor, { transB: true, into, tile });
      const want = matmulReference(a.values, b.values, [m, n, k], { transB: true });
      check.compare("c", widenBf16(check.record, into), want);
    },
  };
}

const MATRICES = [matrixForm("f32", 8, 8, 8), matrixForm("f16", 16, 16, 16)];

export const matmulBf16Cases: KernelCase[] = [
  reads(OWN, "nn", [66, 88, 44]),
  reads(OWN, "nn", [5, 88, 132]),
  reads(OWN, "nn", [33, 66, 63]),
  reads(OWN, "tn", [130, 68, 66]),
  stores(OWN, [66, 88, 44]),
  stores(OWN, [5, 132, 136]),
  stores(OWN, [33, 62, 63]),
  stores(rowsForm(4, 2, false), [7, 70, 132]),
  reads(stagedForm(4, 4), "nn", [65, 68, 64]),
  reads(stagedForm(4, 4), "tn", [68, 72, 63]),
  stores(stagedForm(4, 4), [70, 130, 96]),
  stores(MATRICES[0], [67, 68, 96]),
  reads(MATRICES[1], "nn", [65, 40, 64]),
  stores(MATRICES[1], [66, 70, 64]),
];
