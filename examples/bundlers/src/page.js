import { createTrainer } from "qwench/client";
import { show } from "./show.js";

show(createTrainer());
