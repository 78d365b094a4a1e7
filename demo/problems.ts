import { messageOf } from "../src/text/show.ts";
import { fieldOf, needsSignIn, plainWords, titleOf } from "./errors/words.ts";

/** A problem in the user's words, and what to do about it. */
export interface Problem {
  /** what happened, in a few words */
  title?: string | null;
  /** the detail */
  text: string;
  todo: string | null;
  /** a page of this site that helps */
  link: { text: string; href: string } | null;
  /** whether an access token of the hub may help */
  signIn?: boolean;
  /** the recipe field that is wrong */
  field?: string | null;
  /** the error as it was thrown, if `text` leaves something out */
  raw?: string | null;
}

const nothing = { todo: null, link: null };

/** Turns an error into a message and a next step. Errors from the worker keep their names. */
export function problemOf(error: unknown): Problem {
  const name = error instanceof Error ? error.name : "";
  const raw = messageOf(error);
  const text = plainWords(raw);
  return {
    title: titleOf(name, raw),
    signIn: needsSignIn(raw),
    field: fieldOf(name, raw),
    raw: raw === text ? null : raw,
    ...advice(name, text),
  };
}

function advice(name: string, text: string): Pick<Problem, "text" | "todo" | "link"> {
  if (name === "QuotaError") {
    return { text, todo: null, link: { text: "Free some space", href: "#/storage" } };
  }
  if (name === "NetworkError") {
    const todo = navigator.onLine
      ? "Try again: the partial download is kept."
      : "You are offline. Try again when you are online: the partial download is kept.";
    return { ...nothing, text, todo };
  }
  if (name === "MemoryError") {
    const told = /need less|would fit/.test(text);
    return { ...nothing, text, todo: told ? null : "A smaller model, shorter texts or smaller batches need less." };
  }
  return { ...nothing, text };
}

/** How to get WebGPU in this browser, or null in an insecure context, where the error already says what to do. */
export function webgpuAdvice(agent = navigator.userAgent, secure = isSecureContext): string | null {
  if (!secure) return null;
  const version = (pattern: RegExp) => Number(pattern.exec(agent)?.[1] ?? 0);
  if (/iPhone|iPad/.test(agent)) return "Update to iOS or iPadOS 26 or later, where WebGPU is on in every browser.";
  if (/Edg\/|Chrome\//.test(agent)) {
    if (/Android/.test(agent)) return "Update Chrome to 121 or later, on Android 12 or later.";
    if (version(/Chrome\/(\d+)/) < 113) return "Update your browser to version 113 or later.";
    if (/Linux/.test(agent)) {
      return "Open chrome://flags, turn on “Unsafe WebGPU Support” and “Vulkan”, and restart the browser.";
    }
    return "Open chrome://settings/system, turn on graphics acceleration, and restart the browser.";
  }
  if (/Firefox\//.test(agent)) {
    return "Update to Firefox 141 or later on Windows, 145 on a Mac with Apple silicon. Elsewhere, set dom.webgpu.enabled in about:config, or open this page in Chrome.";
  }
  if (/Safari\//.test(agent))
    return "Update to Safari 26 or later. In Safari 18, turn on WebGPU under Settings, Feature Flags.";
  return "Open this page in a recent Chrome, Edge, Safari or Firefox.";
}
