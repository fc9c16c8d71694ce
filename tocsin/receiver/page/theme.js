// System theme unless somebody chose; the choice is kept in this browser.

const CHOICES = ["system", "light", "dark"];

export function themeButton(button) {
  let choice = stored();
  const apply = () => {
    document.documentElement.dataset.theme = choice;
    button.textContent = `Theme: ${choice}`;
  };
  button.addEventListener("click", () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    try {
      localStorage.setItem("theme", choice);
    } catch {
      // a browser without storage forgets it
    }
    apply();
  });
  apply();
}

function stored() {
  try {
    const value = localStorage.getItem("theme");
    return CHOICES.includes(value) ? value : "system";
  } catch {
    return "system";
  }
}
