import { render } from "preact";
import { App } from "./app";
import { begin } from "./live";

const page = document.getElementById("page") as HTMLElement;
begin(); // what is known comes while the frame is drawn
page.replaceChildren();
render(<App />, page);
