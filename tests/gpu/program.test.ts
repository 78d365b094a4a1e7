import { describe, expect, it } from "vitest";
import { GpuError } from "../../src/errors.ts";
import { reflect } from "../../src/gpu/program.ts";

describe("reflect", () => {
  it("reads bindings in slot order, the uniform block and its fields from the text", () => {
    const code = `
      struct Params { rows: u32, scale: f32, shift: i32 }
      @group(0) @binding(2) var<storage, read_write> y: array<f32>;
      @group(0) @binding(0) var<storage, read> x: array<vec4f>;
      @group(0) @binding(3) var<uniform> params: Params;`;
    expect(reflect("k", code)).toEqual({
      storage: [
        { name: "x", slot: 0, kind: "read" },
        { name: "y", slot: 2, kind: "write" },
      ],
      uniform: 3,
      params: [
        { name: "rows", type: "u32" },
        { name: "scale", type: "f32" },
        { name: "shift", type: "i32" },
      ],
    });
  });

  it("refuses a parameter that is not a 32-bit scalar, by kernel and field", () => {
    const code = "struct Params { rows: u32, at: vec2u }\n@group(0) @binding(0) var<uniform> params: Params;";
    expect(() => reflect("gather", code)).toThrow(
      new GpuError('Cannot read Params of kernel gather: "at: vec2u" is not a u32, i32 or f32 scalar'),
    );
  });

  it("refuses parameters without a uniform binding, and the reverse", () => {
    expect(() => reflect("a", "struct Params { n: u32 }")).toThrow(
      "Kernel a has 1 Params fields and no uniform binding",
    );
    expect(() => reflect("b", "@group(0) @binding(0) var<uniform> p: Other;")).toThrow(
      "Kernel b has 0 Params fields and a uniform binding",
    );
  });

  it("needs neither", () => {
    expect(reflect("c", "fn main() {}")).toEqual({ storage: [], uniform: -1, params: [] });
  });
});
