import { createTrainer } from "../src/client.ts";
import { showPage } from "./page.ts";
import { keepOffline } from "./pwa/register.ts";
import { rewardSandbox } from "./reward/lazy.ts";

document.querySelector("#unloaded")!.remove(); // the message shown if the page's scripts do not load
showPage(document.querySelector("#page")!, () => createTrainer({ rewards: rewardSandbox }));
keepOffline();
