const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render|\bwarp\b/i;

/** Whether an adapter of that name is a CPU in disguise. */
export function isSoftwareName(name: string): boolean {
  return SOFTWARE.test(name);
}
