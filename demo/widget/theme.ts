/**
 * Matches an element's light or dark theme to its surroundings. Each notebook marks its theme differently, so this compares the
 * colours of text and background.
 */
export function followTheme(element: HTMLElement, signal: AbortSignal): void {
  const follow = () => {
    element.style.colorScheme = "";
    const around = element.parentElement;
    if (around?.isConnected) element.style.colorScheme = isLight(getComputedStyle(around).color) ? "dark" : "light";
  };
  const resized = new ResizeObserver(follow); // also when the element is attached
  resized.observe(element);
  const marked = new MutationObserver(follow);
  for (const root of [document.documentElement, document.body]) marked.observe(root, { attributes: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", follow, { signal });
  signal.addEventListener("abort", () => {
    resized.disconnect();
    marked.disconnect();
  });
}

/** Whether a CSS colour in any notation is nearer to white than to black. */
function isLight(color: string): boolean {
  const context = new OffscreenCanvas(1, 1).getContext("2d")!;
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 127;
}
