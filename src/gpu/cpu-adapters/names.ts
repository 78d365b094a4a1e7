/** Names of software renderers: Mesa's, SwiftShader, Microsoft's. */
export type SoftwareRenderer = "llvmpipe" | "swiftshader" | "warp";

const PATTERNS: readonly [SoftwareRenderer, RegExp][] = [
  ["llvmpipe", /llvmpipe|lavapipe/i],
  ["swiftshader", /swiftshader/i],
  ["warp", /basic render|\bwarp\b/i],
];

/** The software renderer in an adapter's name; null for a GPU and for unknown names. */
export function softwareRenderer(name: string): SoftwareRenderer | null {
  return PATTERNS.find(([, pattern]) => pattern.test(name))?.[0] ?? null;
}
