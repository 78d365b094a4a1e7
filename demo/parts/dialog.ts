import { h, uid } from "../dom.ts";

/** Asks for confirmation before a permanent action. Escape and Cancel decline. The focus returns to its earlier place. */
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
