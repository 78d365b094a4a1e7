/** Most files of a dropped folder: a checkpoint has dozens, a tree of programs may have a million. */
const MOST_FILES = 20_000;

/** Whether a drag carries files, and not text of a page. */
export function dragsFiles({ dataTransfer }: DragEvent): boolean {
  return dataTransfer?.types.includes("Files") ?? false;
}

/** Lets files and folders be dropped on an element, which has the class `dropping` meanwhile. */
export function takesDrops(element: HTMLElement, take: (files: File[]) => void): void {
  // dragenter and dragleave also come from children
  let depth = 0;
  const over = (change: number) => (event: DragEvent) => {
    if (!dragsFiles(event)) return;
    event.preventDefault();
    depth = Math.max(0, depth + change);
    element.classList.toggle("dropping", depth > 0);
  };
  element.addEventListener("dragenter", over(1));
  element.addEventListener("dragover", over(0));
  element.addEventListener("dragleave", over(-1));
  element.addEventListener("drop", (event) => {
    depth = 0;
    element.classList.remove("dropping");
    if (!dragsFiles(event) || event.defaultPrevented) return; // a part of the element took them
    event.preventDefault(); // or the browser would leave the page for the file
    void droppedFiles(event.dataTransfer!).then((files) => files.length > 0 && take(files));
  });
}

/** The dropped files, and those of dropped folders. As from a file input, `webkitRelativePath` has a file's path below its folder. */
async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  // the list is empty after this task
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry());
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  const files: File[] = [];
  for (const entry of entries) if (entry) await gather(entry, files);
  return files;
}

async function gather(entry: FileSystemEntry, files: File[]): Promise<void> {
  if (files.length >= MOST_FILES) return;
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    files.push(Object.defineProperty(file, "webkitRelativePath", { value: entry.fullPath.replace(/^\//, "") }));
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // a browser gives a hundred at once, and none at the end
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const one of some) await gather(one, files);
  }
}
