/** Asks the page to show a recipe field, whose name is the event's `detail`; it bubbles. */
export const SHOW_FIELD = "qwench-show-field";

/** Whether the page has a control of a recipe field. */
export function hasField(name: string): boolean {
  return fieldElement(name) !== null;
}

/** Opens the sections around a field, scrolls to it and gives it the focus. */
export function showField(name: string): void {
  const element = fieldElement(name);
  if (!element) return;
  reveal(element);
  element.querySelector<HTMLElement>("input, select, textarea")?.focus({ preventScroll: true });
}

/** Opens the sections around an element and scrolls to it. */
export function reveal(element: HTMLElement): void {
  for (let at = element.parentElement; at; at = at.parentElement) if (at instanceof HTMLDetailsElement) at.open = true;
  element.scrollIntoView({ block: "center" });
}

function fieldElement(name: string): HTMLElement | null {
  return document.querySelector<HTMLElement>(`[data-field="${CSS.escape(name)}"]`);
}
