/** A child of an element. Text is inserted as text, never as HTML. */
export type Child = Node | string | number | null | undefined | false;

type Handlers = { [E in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[E]) => void };
type Attribute = string | number | boolean | null | undefined;
/** Attributes by name. true gives an empty attribute; false, null and undefined give none. `on` holds listeners. */
export type Attributes = { on?: Handlers } & { [name: string]: Attribute | Handlers };

/** An element with attributes, listeners and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  const { on, ...rest } = attributes;
  for (const [name, value] of Object.entries(rest)) setAttribute(element, name, value as Attribute);
  for (const [type, handler] of Object.entries(on ?? {})) element.addEventListener(type, handler as EventListener);
  element.append(...nodes(children));
  return element;
}

/** An SVG element. */
export function svg(tag: string, attributes: Record<string, Attribute> = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...nodes(children));
  return element;
}

/** Replaces an element's children. */
export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...nodes(children));
}

/** Sets a text only if it differs, so that screen readers do not repeat a live region. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Marks a button as unavailable with aria-disabled, which keeps the focus. The button's handler must check it. */
export function setIdle(button: HTMLElement, idle: boolean): void {
  button.setAttribute("aria-disabled", String(idle));
}

let ids = 0;
/** A unique element id. */
export function uid(stem: string): string {
  return `${stem}-${++ids}`;
}

function setAttribute(element: Element, name: string, value: Attribute): void {
  if (value === false || value === null || value === undefined) return;
  element.setAttribute(name, value === true ? "" : String(value));
}

function nodes(children: readonly Child[]): (Node | string)[] {
  return children.flatMap((child) =>
    child === null || child === undefined || child === false ? [] : [typeof child === "number" ? String(child) : child],
  );
}
