import { h, uid } from "../dom.ts";

/** Asks before something is gone for good. Escape and Cancel say no; the focus goes back to where it was. */
export function confirm(question: string, detail: string, act: string): Promise<boolean> {
  const [title, text] = [uid("question"), uid("detail")];
  return new Promise((decide) => {
    const dialog = h(
      "dialog",
      { class: "confirm", "aria-labelledby": title, "aria-describedby": text },
      h("h2", { id: title }, question),
      h("p", { id: text }, detail),
      h(
        "form",
        { method: "dialog", class: "actions" },
        h("button", { value: "no", class: "secondary" }, "Cancel"),
        h("button", { value: "yes", class: "danger" }, act),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      decide(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
