import { createTrainer } from "qwench/client";
import { show } from "./show.js";

// Bun's dev server gives modules the addresses of their files, so the page says where the worker is served
show(createTrainer({ workerUrl: "/trainer.worker.js" }));
