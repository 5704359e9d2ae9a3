"use strict";
const compare = document.querySelector(".compare");
const handle = document.createElement("input");
Object.assign(handle, { type: "range", min: 0, max: 100, step: 0.1, value: parseFloat(compare.style.getPropertyValue("--divider")), className: "handle" });
handle.setAttribute("aria-label", "Divider between before and after");
handle.addEventListener("input", () => compare.style.setProperty("--divider", handle.value + "%"));
compare.append(handle);
compare.classList.add("live");

const frames = document.querySelector(".frames");
if (frames) {
  const figures = [...frames.querySelectorAll("figure")];
  const scrub = document.querySelector(".scrub");
  const slider = scrub.querySelector("input");
  const button = scrub.querySelector("button");
  let timer = null;
  const show = (index) => {
    figures.forEach((figure, number) => figure.classList.toggle("shown", number === index));
    slider.value = index;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  const step = () => {
    const next = Number(slider.value) + 1;
    if (next < figures.length) show(next);
    else stop();
  };
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (Number(slider.value) === figures.length - 1) show(0);
    button.textContent = "Pause";
    timer = setInterval(step, 120);
  });
  frames.classList.add("live");
  scrub.hidden = false;
  show(figures.length - 1);
}
