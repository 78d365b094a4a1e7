/** A renderer that computes on the CPU: Mesa's, SwiftShader, or Microsoft's. */
export type SoftwareRenderer = "llvmpipe" | "swiftshader" | "warp";

const PATTERNS: readonly [SoftwareRenderer, RegExp][] = [
  ["llvmpipe", /llvmpipe|lavapipe/i],
  ["swiftshader", /swiftshader/i],
  ["warp", /basic render|\bwarp\b/i],
];

/** The software renderer that a name tells of; null for a GPU's, and for a name that says nothing. */
export function softwareRenderer(name: string): SoftwareRenderer | null {
  return PATTERNS.find(([, pattern]) => pattern.test(name))?.[0] ?? null;
}
