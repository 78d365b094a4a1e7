import { expect, it } from "vitest";
import { HELP, KINDS, parseBenchArgs } from "../../bench/args.ts";

it("reads a kind and its options", () => {
  expect(parseBenchArgs(["sft", "--tokens", "512", "--layers", "2", "--json"])).toEqual({
    kinds: ["sft"],
    tokens: 512,
    rounds: 5,
    layers: 2,
    most: 32768,
    seconds: 600,
    profile: false,
    untuned: false,
    json: true,
    save: false,
  });
  expect(parseBenchArgs(["scale", "--most", "4096", "--seconds", "60"])).toMatchObject({ most: 4096, seconds: 60 });
});

it("runs every kind except long ones and torch's for `all`", () => {
  const { kinds } = parseBenchArgs(["all"])!;
  expect(KINDS.filter((kind) => !kinds.includes(kind))).toEqual(["delta-length", "table", "scale", "torch", "isa"]);
});

it("takes the files of isa", () => {
  const args = ["isa", "--names", "names.json", "--isa", "out"];
  expect(parseBenchArgs(args)).toMatchObject({ kinds: ["isa"], names: "names.json", isa: "out" });
});

it("reads the file of torch's rows", () => {
  expect(parseBenchArgs(["torch", "rows.jsonl"])).toMatchObject({ kinds: ["torch"], rows: "rows.jsonl" });
  expect(() => parseBenchArgs(["torch"])).toThrow("name the file with the rows");
  expect(() => parseBenchArgs(["torch", "a", "b"])).toThrow("Cannot bench torch a b");
});

it("refuses unknown kinds and options", () => {
  expect(() => parseBenchArgs([])).toThrow("Cannot bench nothing: expected one of matmul");
  expect(() => parseBenchArgs(["matmul", "lora"])).toThrow("Cannot bench matmul lora");
  expect(() => parseBenchArgs(["toString"])).toThrow("Cannot bench toString");
  expect(() => parseBenchArgs(["sft", "--tokens", "0"])).toThrow("--tokens 0: it must be a positive integer");
  expect(() => parseBenchArgs(["sft", "--rounds", "five"])).toThrow("--rounds five");
  expect(() => parseBenchArgs(["sft", "--fast"])).toThrow("--fast");
  expect(() => parseBenchArgs(["scale", "--most", "256"])).toThrow("from 512 to 32768");
});

it("explains every kind and option", () => {
  expect(parseBenchArgs(["-h"])).toBeNull();
  for (const kind of [...KINDS, "all"]) expect(HELP).toContain(kind);
});
