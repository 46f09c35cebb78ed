// What the console does beyond plain pages: times in the reader's zone, a copy button, and pages that
// stay fresh. Without it every page works all the same.
"use strict";

const EVERY_MS = 5000;

// Shows times in the reader's zone; the text in UTC is the tooltip.
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!time.title && !Number.isNaN(at.getTime())) {
      time.title = time.textContent;
      time.textContent = at.toLocaleString();
    }
  }
}

function copyButtons() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const told = document.querySelector("[data-copied]");
      try {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
        told.textContent = "Copied.";
      } catch {
        told.textContent = "The browser does not let it be copied; select it and copy it by hand.";
      }
    });
  }
}

// Whether somebody is doing something there that a refresh would disturb.
function isBusy(region) {
  return region.querySelector("input:checked, details[open]") !== null || region.contains(document.activeElement);
}

// Fetches the page once more and takes what changes from it. No screen reader is told: who listens to
// a page is not interrupted by its numbers.
async function refresh(regions) {
  const answer = await fetch(location.href, { headers: { "x-console-live": "1" }, redirect: "manual" });
  if (answer.type === "opaqueredirect") {
    location.reload();
    return;
  }
  if (!answer.ok) {
    throw new Error(answer.statusText);
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const region of regions) {
    const next = fresh.getElementById(region.id);
    if (next && !isBusy(region)) {
      localTimes(next);
      region.replaceChildren(...next.childNodes);
    }
  }
}

function stayFresh() {
  const regions = [...document.querySelectorAll("[data-live]")];
  if (regions.length === 0) {
    return;
  }
  const again = async () => {
    if (document.visibilityState === "visible") {
      let stale = false;
      try {
        await refresh(regions);
      } catch {
        stale = true;
      }
      regions.forEach((region) => region.classList.toggle("stale", stale));
    }
    setTimeout(again, EVERY_MS);
  };
  setTimeout(again, EVERY_MS);
}

localTimes(document);
copyButtons();
stayFresh();
