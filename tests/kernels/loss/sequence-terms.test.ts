import { expect, it } from "vitest";
import { sequenceTermsCases } from "../../../src/kernels/loss/sequence-terms.cases.ts";
import { sequenceTerms, sequenceTermsReference } from "../../../src/kernels/loss/sequence-terms.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("sequence_terms", sequenceTermsCases);

it("bounds each log-ratio and their sum as TRL does", () => {
  const rows = Float64Array.from([30, 30, 1].flatMap((d) => [0, 0, -1 - d, 0]));
  const logp = new Float64Array(3).fill(-1);
  const of = (starts: number[]) =>
    sequenceTermsReference({ logp, rows, counted: null }, starts, { old: true, kl: false });
  expect([...of([0, 3]).subarray(0, 4)]).toEqual([61 / 3, 20, 1, 0]);
  expect(of([0, 2, 3])[9]).toBe(1);
  const down = Float64Array.from([0, 0, 29, 0]);
  const fallen = sequenceTermsReference({ logp: Float64Array.of(-1), rows: down, counted: null }, [0, 1], {
    old: true,
    kl: false,
  });
  expect(fallen[1]).toBeCloseTo(Math.log(1e-8), 12);
});

const device = useGpu();

it("refuses lengths that differ", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  const go = (rows: number, counted: number) =>
    sequenceTerms(
      record,
      { logp: make([5], "logp"), rows: make([rows, 4], "rows"), counted: make([counted], "counted") },
      make([2], "starts"),
      { old: true, kl: true },
    );
  expect(() => go(6, 5)).toThrow("rows [6,4] must be [5,4]");
  expect(() => go(5, 4)).toThrow("counted [4] must be [5]");
});
