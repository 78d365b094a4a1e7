import { MOST_IMAGE_BYTES, readImageHeader } from "../../src/io/images.ts";
import { fill, h, setIdle } from "../dom.ts";

/** Most images of a message. */
const MOST = 8;
const TYPES = "image/png,image/jpeg,image/webp";

/** The images of the next message: chosen, pasted, or dropped on the composer. */
export interface ImageDrop {
  readonly images: readonly File[];
  /** Gives the images to a message and begins anew. */
  take(): File[];
  /** Puts images back, such as those of a message that failed. */
  put(files: readonly File[]): void;
  /** Whether images may be added and removed now. */
  idle(on: boolean): void;
}

/**
 * Lets a composer take images. Puts their previews, with what was wrong with the last file, before its field.
 *
 * @param composer images may be dropped anywhere on it
 * @param field images may be pasted into it; it gets the focus back
 * @param beside the button for the file dialog is put after this element
 */
export function imageDrop(composer: HTMLElement, field: HTMLElement, beside: HTMLElement): ImageDrop {
  let images: File[] = [];
  let waits = false;
  const list = h("ul", { class: "thumbs", "aria-label": "Images of your message" });
  const problem = h("p", { class: "wrong", role: "alert", hidden: true });
  const previews = h("div", { class: "attached" }, list, problem);
  const picker = h("input", { type: "file", accept: TYPES, multiple: true, hidden: true, tabindex: "-1" });
  const button = h("button", { type: "button", class: "secondary" }, "Add an image …");
  previews.append(picker);
  field.before(previews);
  beside.after(button);

  const say = (text: string | null) => {
    problem.hidden = text === null;
    fill(problem, text);
  };
  const show = () => {
    fill(list, ...images.map((file, i) => thumb(file, () => remove(i))));
    list.hidden = images.length === 0;
  };
  const remove = (index: number) => {
    if (waits) return;
    images = images.filter((_, i) => i !== index);
    say(null);
    show();
    const left = list.querySelectorAll("button");
    (left[Math.min(index, left.length - 1)] ?? field).focus();
  };
  const add = async (files: readonly File[]) => {
    if (waits || files.length === 0) return;
    say(null);
    for (const file of files) {
      const wrong = images.length >= MOST ? `A message may have ${MOST} images.` : await faultOf(file);
      if (wrong !== null) say(wrong);
      else images = [...images, file];
    }
    show();
  };

  button.addEventListener("click", () => !waits && picker.click());
  picker.addEventListener("change", () => {
    void add([...(picker.files ?? [])]);
    picker.value = ""; // the same file may be chosen again
    field.focus();
  });
  field.addEventListener("paste", (event) => {
    const data = (event as ClipboardEvent).clipboardData;
    const files = filesOf(data);
    // an office program also offers a picture of the text that it copies
    if (files.length === 0 || data!.types.includes("text/plain")) return;
    event.preventDefault();
    void add(files);
  });
  // dragenter and dragleave also come from children
  let depth = 0;
  const drags = (event: DragEvent) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const over = (change: number) => (event: DragEvent) => {
    if (!drags(event)) return;
    event.preventDefault();
    depth = Math.max(0, depth + change);
    composer.classList.toggle("dropping", depth > 0 && !waits);
  };
  composer.addEventListener("dragenter", over(1));
  composer.addEventListener("dragover", over(0));
  composer.addEventListener("dragleave", over(-1));
  composer.addEventListener("drop", (event) => {
    if (!drags(event)) return;
    event.preventDefault(); // or the browser would leave the page for the file
    depth = 0;
    composer.classList.remove("dropping");
    void add(filesOf(event.dataTransfer));
    field.focus();
  });
  show();

  return {
    get images() {
      return images;
    },
    take() {
      const taken = images;
      images = [];
      say(null);
      show();
      return taken;
    },
    put(files) {
      images = [...files, ...images].slice(0, MOST);
      show();
    },
    idle(on) {
      waits = on;
      setIdle(button, on);
    },
  };
}

/** An image as it was sent. */
export function sentImages(files: readonly Blob[]): HTMLElement | null {
  if (files.length === 0) return null;
  return h(
    "div",
    { class: "sent" },
    ...files.map((file, i) => picture(file, file instanceof File && file.name ? file.name : `Image ${i + 1}`)),
  );
}

function thumb(file: File, remove: () => void): HTMLElement {
  const name = file.name || "Pasted image";
  return h(
    "li",
    {},
    picture(file, name),
    h(
      "button",
      { type: "button", class: "quiet", "aria-label": `Remove ${name}`, title: "Remove", on: { click: remove } },
      "×",
    ),
  );
}

function picture(file: Blob, alt: string): HTMLImageElement {
  const src = URL.createObjectURL(file);
  const free = () => URL.revokeObjectURL(src);
  return h("img", { src, alt, on: { load: free, error: free } });
}

const filesOf = (data: DataTransfer | null) => [...(data?.files ?? [])];

/** What is wrong with a file, from its header alone; null: nothing. */
async function faultOf(file: File): Promise<string | null> {
  const name = file.name || "the pasted image";
  if (file.size > MOST_IMAGE_BYTES) return `Cannot read ${name}: it has ${file.size} bytes; an image may have 64 MiB`;
  try {
    readImageHeader(new Uint8Array(await file.arrayBuffer()), name);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
