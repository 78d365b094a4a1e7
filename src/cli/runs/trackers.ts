import { hostname } from "node:os";
import { type AppendableFolder, isAppendable } from "../../io/memory-folder.ts";
import type { Folder } from "../../io/storage.ts";
import { eventFileHead, eventFileName, logEvent } from "../../io/trackers/tensorboard.ts";
import { WandbLog, wandbRunNames } from "../../io/trackers/wandb.ts";
import type { Tracker } from "../../recipe/trackers.ts";
import type { LogRecord } from "../../report/text.ts";

/** Facts about a run for trackers. */
interface TrackedRun {
  report_to: readonly Tracker[];
  run_name: string | null;
  project: string;
  /** the recipe with its file's fields */
  yaml: string;
  config: Readonly<Record<string, unknown>>;
  /** the step of the checkpoint that the run resumes from, or 0 */
  step: number;
}

/** Files for other programs that display runs, in addition to metrics.jsonl. */
export interface Trackers {
  append(record: LogRecord): Promise<void>;
  /** @param exit 0 if the run finished */
  end(exit: number): Promise<void>;
  /** how to view the files, one line per tracker */
  readonly hints: readonly string[];
}

/**
 * Opens the files of the trackers that `report_to` names, in a run's folder: TensorBoard's events in `runs/`, an offline run of
 * Weights & Biases in `wandb/`. Trackio imports TensorBoard's files. A resumed run adds files and changes none.
 */
export async function openTrackers(output: Folder, run: TrackedRun, now = () => Date.now()): Promise<Trackers> {
  const sinks: { append(record: LogRecord, time: number): Promise<void>; end?(exit: number): Promise<void> }[] = [];
  const hints: string[] = [];
  const started = now();
  const { report_to, yaml, step } = run;
  const stamp = new Date(started).toISOString().slice(0, 19).replaceAll(":", "-");
  const name = (run.run_name ?? stamp).replace(/[^\w.-]+/g, "-").slice(0, 100);
  if (report_to.includes("tensorboard") || report_to.includes("trackio")) {
    const folder = appendable(output.folder("runs").folder(name));
    const file = eventFileName(started, hostname(), String(process.pid));
    await folder.appendBytes(file, eventFileHead(step, yaml, started));
    sinks.push({ append: (record, time) => folder.appendBytes(file, logEvent(record, time)) });
    if (report_to.includes("tensorboard")) hints.push(`Its curves: tensorboard --logdir ${output.path}/runs`);
    if (report_to.includes("trackio")) {
      const call = `trackio.import_tf_events(${JSON.stringify(folder.path)}, project=${JSON.stringify(run.project)})`;
      hints.push(`Into Trackio: python -c ${shellQuoted(`import trackio; ${call}`)}`);
    }
  }
  if (report_to.includes("wandb")) {
    const id = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => (byte % 36).toString(36)).join("");
    const wandb = {
      id,
      project: run.project,
      name: run.run_name ?? stamp,
      started,
      host: hostname(),
      config: run.config,
    };
    const names = wandbRunNames(wandb);
    const folder = appendable(output.folder("wandb").folder(names.folder));
    const log = new WandbLog(wandb);
    await folder.appendBytes(names.file, log.head());
    sinks.push({
      append: (record, time) => folder.appendBytes(names.file, log.log(record, time)),
      end: (exit) => folder.appendBytes(names.file, log.end(exit, now())),
    });
    hints.push(`To Weights & Biases: wandb sync ${shellQuoted(folder.path)}`);
  }
  return {
    hints,
    async append(record) {
      const time = now();
      for (const sink of sinks) await sink.append(record, time);
    },
    async end(exit) {
      for (const sink of sinks) await sink.end?.(exit);
    },
  };
}

function shellQuoted(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function appendable(folder: Folder): AppendableFolder {
  if (!isAppendable(folder)) throw new Error(`${folder.path} does not support appending`);
  return folder;
}
