// @ts-check
/** The line that a person types in: sending it, earlier lines, and nicks that are completed. */

const HISTORY_KEPT = 100;

/**
 * @param {object} parts
 * @param {HTMLFormElement} parts.form
 * @param {HTMLInputElement} parts.input
 * @param {(text: string) => boolean} parts.submit false leaves the text where it is
 * @param {() => string[]} parts.nicks that can be completed here
 */
export function composer({ form, input, submit, nicks }) {
  /** @type {string[]} the latest first */
  const history = [];
  let recalled = -1;
  let draft = '';

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const text = input.value;
    if (!submit(text)) return;
    input.value = '';
    recalled = -1;
    if (text.trim() !== '') history.unshift(text);
    history.length = Math.min(history.length, HISTORY_KEPT);
  });

  /** @param {number} by 1 is older */
  const recall = (by) => {
    if (recalled === -1) draft = input.value;
    recalled = Math.max(-1, Math.min(history.length - 1, recalled + by));
    input.value = recalled === -1 ? draft : (history[recalled] ?? '');
    input.setSelectionRange(input.value.length, input.value.length);
  };

  /** Completes the word before the caret to a nick; false if there is none. */
  const complete = () => {
    const caret = input.selectionStart ?? 0;
    const [word = ''] = /\S+$/.exec(input.value.slice(0, caret)) ?? [];
    const found = word && nicks().find((nick) => nick.toLowerCase().startsWith(word.toLowerCase()));
    if (!found) return false;
    input.setRangeText(found + (caret === word.length ? ': ' : ' '), caret - word.length, caret, 'end');
    return true;
  };

  input.addEventListener('keydown', (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      event.preventDefault();
      recall(event.key === 'ArrowUp' ? 1 : -1);
    } else if (event.key === 'Tab' && !event.shiftKey && complete()) {
      // Without a nick to complete, Tab moves the focus as everywhere.
      event.preventDefault();
    }
  });
}
