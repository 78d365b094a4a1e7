/** Saves a file for the user as a browser download. */
export function saveFile({ name, blob }: { name: string; blob: Blob }): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // by then the browser has read the blob
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
