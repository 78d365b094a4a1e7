import type { App } from "../app.ts";
import { dragsFiles } from "./files.ts";

const PLACES =
  "These places take files: under Train, “Choose a file …” takes rows and “Choose a folder …” a model; Documents takes documents; Runs takes exported runs and folders of runs; the message of a chat takes images.";

/** Keeps the page when a file is dropped on a part that takes none: a browser would open the file in its place. */
export function guardDrops(app: App): void {
  const keep = (event: DragEvent) => {
    if (event.defaultPrevented || !dragsFiles(event)) return;
    if ((event.target as Element | null)?.closest?.("input[type=file]")) return; // takes it by itself
    event.preventDefault();
    if (event.type !== "drop") return;
    app.notify({ id: "dropped", kind: "info", text: "Files cannot be dropped here.", todo: PLACES, link: null });
  };
  addEventListener("dragover", keep);
  addEventListener("drop", keep);
}
