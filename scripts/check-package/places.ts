import type { Result } from "./run.ts";
export async function checkPlaces(_tarball: string, _folder: string): Promise<Result[]> {
  return [];
}
