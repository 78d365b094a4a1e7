/** Memory, in binary units: 273_679_360 is `261 MiB`. */
export function formatBytes(bytes: number): string {
  const [value, unit] = scaled(Math.abs(bytes), 1024, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
  const digits = unit === "B" || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${bytes < 0 ? "−" : ""}${value.toFixed(digits)} ${unit}`;
}

/** Files, downloads and storage, in decimal units as file managers, browsers and the hub count them: 988_097_824 is `988 MB`. */
export function formatFileSize(bytes: number): string {
  const [value, unit] = scaled(bytes, 1000, 999.5, ["B", "kB", "MB", "GB", "TB"]);
  return `${value.toFixed(unit === "B" || value >= 9.95 ? 0 : 1)} ${unit}`;
}

function scaled(bytes: number, base: number, most: number, units: readonly string[]): [value: number, unit: string] {
  let value = bytes;
  let unit = 0;
  while (value >= most && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  return [value, units[unit]];
}
