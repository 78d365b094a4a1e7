import { createTrainer } from "../src/client.ts";
import { showPage } from "./page.ts";

showPage(document.querySelector("#page")!, () => createTrainer());
