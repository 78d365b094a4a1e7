import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  path: string;
  authorization: string | undefined;
  body: { model: string; messages: { role: string; content: string }[]; temperature?: number };
  at: number;
}

/** The answer to the n-th request, from 0. */
export type Answer = (res: ServerResponse, asked: Asked, n: number) => void;

export interface JudgeServer {
  /** up to /v1 */
  url: string;
  asked: Asked[];
  /** peak number of open requests */
  busiest: number;
  close(): Promise<void>;
}

/** A well-formed answer. */
export function says(content: string, usage: object = { prompt_tokens: 100, completion_tokens: 10 }): Answer {
  return (res) => {
    res.writeHead(200, { "content-type": "application/json" });
    res.end(JSON.stringify({ choices: [{ index: 0, message: { role: "assistant", content } }], usage }));
  };
}

export function fails(status: number, text = "", headers: Record<string, string> = {}): Answer {
  return (res) => void res.writeHead(status, headers).end(text);
}

/** Answers in turn; the last one repeats. */
export function inTurn(...answers: Answer[]): Answer {
  return (res, asked, n) => answers[Math.min(n, answers.length - 1)](res, asked, n);
}

/** An OpenAI-compatible endpoint on the loopback, which answers with `answer`. @param options.cors lets pages of other origins ask */
export async function serveJudge(answer: Answer, { cors = false } = {}): Promise<JudgeServer> {
  const asked: Asked[] = [];
  let open = 0;
  const state = { busiest: 0 };
  const server = createServer(async (req: IncomingMessage, res) => {
    if (cors) {
      res.setHeader("Access-Control-Allow-Origin", "*");
      res.setHeader("Access-Control-Allow-Headers", "authorization, content-type");
      if (req.method === "OPTIONS") return res.writeHead(204).end();
    }
    open++;
    state.busiest = Math.max(state.busiest, open);
    res.on("close", () => open--);
    let text = "";
    for await (const part of req) text += part;
    const one = {
      path: req.url!,
      authorization: req.headers.authorization,
      body: JSON.parse(text),
      at: performance.now(),
    };
    asked.push(one);
    answer(res, one, asked.length - 1);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    asked,
    get busiest() {
      return state.busiest;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
