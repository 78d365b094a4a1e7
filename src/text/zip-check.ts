const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const ENTRY = 0x02014b50;
const FILE = 0x04034b50;
/** Most files of an archive: a checkpoint has one per tensor. */
const MOST_FILES = 100_000;

/**
 * Checks the directory of a zip file for consistency: the unpacker trusts the number, places and lengths of entries,
 * and would loop forever past the end.
 *
 * @throws {Error} entries outside the file, or entries that are longer together than the file
 * @see APPNOTE.TXT of PKWARE, 4.3
 */
export function checkZip(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fits = (at: number, length: number): boolean => at >= 0 && at + length <= bytes.length;
  const least = Math.max(0, bytes.length - 22 - 65_536);
  let end = bytes.length - 22;
  while (end >= least && view.getUint32(end, true) !== END) end--;
  if (end < least || end < 1) throw new Error("it has no directory");
  let [count, at] = [view.getUint16(end + 8, true), view.getUint32(end + 16, true)];
  if (end >= 20 && view.getUint32(end - 20, true) === LOCATOR_64) {
    const large = view.getUint32(end - 12, true);
    if (!fits(large, 56)) throw new Error("its directory is outside the file");
    if (view.getUint32(large, true) === END_64)
      [count, at] = [view.getUint32(large + 32, true), view.getUint32(large + 48, true)];
  }
  if (count > MOST_FILES) throw new Error(`it has ${count} files; at most ${MOST_FILES} are read`);
  let total = 0;
  for (let i = 0; i < count; i++) {
    if (!fits(at, 46) || view.getUint32(at, true) !== ENTRY)
      throw new Error(`entry ${i + 1} of its directory is outside the file`);
    const [packed, unpacked, offset] = [20, 24, 42].map((field) => view.getUint32(at + field, true));
    if ([packed, unpacked, offset].includes(0xffffffff))
      throw new Error(`entry ${i + 1} of its directory is above 4 GB`);
    if (!fits(offset, 30) || view.getUint32(offset, true) !== FILE) throw new Error(`file ${i + 1} lies outside`);
    const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
    if (!fits(start, packed)) throw new Error(`file ${i + 1} of ${packed} bytes ends outside the file`);
    total += packed;
    if (total > bytes.length) throw new Error("its files overlap");
    at += 46 + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
}
