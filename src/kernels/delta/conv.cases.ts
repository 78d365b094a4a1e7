import { view } from "../../gpu/tensor.ts";
import { spansOf } from "../attention/attention.ts";
import type { KernelCase } from "../check.ts";
import {
  deltaConv,
  deltaConvBackward,
  deltaConvBackwardReference,
  deltaConvFill,
  deltaConvReference,
  deltaConvStep,
} from "./conv.ts";

/** Lengths of sequences, channels, columns of x, storage of the filters. */
const SHAPES = [
  [[1], 4, 4, "f32"],
  [[2, 1, 3, 63], 12, 20, "bf16"],
  [[65, 5], 63, 66, "f32"],
  [[4, 130], 64, 72, "f16"],
] as const;

/** What the convolution of a delta net is held to, forwards, backwards and token by token. */
export const deltaConvCases: KernelCase[] = SHAPES.flatMap(([lengths, channels, stride, dtype]): KernelCase[] => {
  const starts = [0];
  for (const length of lengths) starts.push(starts.at(-1)! + length);
  const tokens = starts.at(-1)!;
  const spans = spansOf(starts);
  const name = `lengths ${lengths.join("+")}, ${channels} of ${stride} ${dtype}`;
  const needs = dtype === "f16" ? ("f16" as const) : undefined;
  const columnsOf = (x: Float64Array) =>
    Float64Array.from({ length: tokens * channels }, (_, i) => x[Math.floor(i / channels) * stride + (i % channels)]);
  return [
    {
      kernel: "deltaConv",
      name: `${name}, backward`,
      tolerance: 1e-5,
      needs,
      run(check) {
        const x = check.input([tokens, stride], "x", 2);
        const weight = check.input([channels, 1, 4], "weight", 1, dtype);
        const dy = check.input([tokens, channels], "dy");
        const dx = check.input([tokens, stride], "dx");
        const dweight = check.input([channels, 1, 4], "dweight");
        const at = view(check.integers([...spans], "spans"), [tokens, 2]);
        const y = deltaConv(check.record, x.tensor, at, weight.tensor);
        const given = { x: x.tensor, spans: at, weight: weight.tensor };
        deltaConvBackward(check.record, given, dy.tensor, { dx: dx.tensor, dweight: dweight.tensor });
        const own = columnsOf(x.values);
        const want = deltaConvBackwardReference(own, spans, weight.values, dy.values);
        const wantDx = dx.values.slice();
        want.dx.forEach((d, i) => {
          wantDx[Math.floor(i / channels) * stride + (i % channels)] = d;
        });
        check.compare("y", y, deltaConvReference(own, spans, weight.values));
        check.compare("dx", dx.tensor, wantDx);
        check.compare(
          "dweight",
          dweight.tensor,
          want.dweight.map((d, i) => d + dweight.values[i]),
        );
      },
    },
    {
      kernel: "deltaConvStep",
      name,
      tolerance: 1e-5,
      needs,
      run(check) {
        // every sequence but its last token is filled in; that one is a step of its own, rows and slots in another order
        const x = check.input([tokens, stride], "x", 2);
        const weight = check.input([channels, 1, 4], "weight", 1, dtype);
        const columns = check.input([lengths.length + 1, 3, channels], "columns");
        const slotOf = lengths.map((_, s) => lengths.length - s);
        const before = starts.slice(0, -1).map((_, s) => starts[s + 1] - 2);
        const ends = lengths.flatMap((length, s) => (length > 1 ? [s, before[s], slotOf[s]] : []));
        const at = view(check.integers([...spans], "spans"), [tokens, 2]);
        if (ends.length > 0) {
          const filled = view(check.integers(ends, "ends"), [ends.length / 3, 3]);
          deltaConvFill(check.record, x.tensor, at, filled, columns.tensor);
        }
        const last = starts.slice(1).flatMap((end) => [...x.values.subarray((end - 1) * stride, end * stride)]);
        const fresh = check.given(Float32Array.from(last), [lengths.length, stride], "fresh");
        const rows = {
          slots: check.integers(slotOf, "slots"),
          positions: check.integers(
            lengths.map((length) => length - 1),
            "positions",
          ),
        };
        const y = deltaConvStep(check.record, fresh.tensor, weight.tensor, rows, columns.tensor);
        const all = deltaConvReference(columnsOf(x.values), spans, weight.values);
        check.compare(
          "y",
          y,
          starts.slice(1).flatMap((end) => [...all.subarray((end - 1) * channels, end * channels)]),
        );
      },
    },
  ];
});
