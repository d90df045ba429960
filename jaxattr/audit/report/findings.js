// The first page: ranked findings, filters and overall numbers; and a page per finding.
const filters = { kind: '', severity: '', text: '' };
const BATCH = 40;
const kindName = (kind) => kind.replaceAll('_', ' ');
const badge = (severity) => h('span', { class: `badge ${severity}` }, severity);

// A share in percent, if its whole interval is one, too; else a plain number.
const amount = (one) => [one.effect, ...(one.interval || [])].every((value) => value >= 0 && value <= 1) ? percent(one.effect) : figure(one.effect);

function overview() {
  const all = D.overall;
  const ends = all.images ? wilson(all.correct, all.images) : [0, 0];
  return h('dl', { class: 'stats' },
    stat('Images', integer(all.images), [all.partial ? `of ${integer(all.total)} in the folder, ` : '', 'in ',
      all.leftOut ? `${integer(all.present)} of ${plural(all.present + all.leftOut, 'class', 'classes')}` : plural(all.present, 'class', 'classes')]),
    all.images ? stat('Accuracy', percent(all.correct / all.images), `95 %: ${interval(ends)}`) : null,
    all.images && all.labels > 5 ? stat('In the top five', percent(all.top5 / all.images), `of ${integer(all.labels)} classes`) : null,
    all.images ? stat('Mean confidence', percent(all.confidence), `calibration error ${percent(all.calibrationError)}`, 'Expected calibration error over ten bins of confidence') : null,
    all.images ? h('div', { class: 'stat' }, h('dt', {}, 'Reliability'), h('dd', {}, reliability(all.bins))) : null,
    stat('Skipped', integer(all.skipped), all.skipped ? h('a', { href: '#/skipped' }, 'reasons') : 'all could be read'),
    unlooked() ? stat('Not looked at', integer(unlooked()), h('a', { href: '#/skipped' }, plural(all.unlooked.length, 'kind') + ' of files')) : null);
}

const unlooked = () => D.overall.unlooked.reduce((sum, [, count]) => sum + count, 0);

// Accuracy over confidence per tenth; on the diagonal the model is as sure as it is right.
function reliability(bins) {
  const width = 132, height = 44;
  const canvas = h('canvas', { class: 'reliability', width: 2 * width, height: 2 * height, role: 'img' });
  const said = bins.filter((one) => one[0]).map(([n, sum, right]) => `${percent(sum / n, 0)} sure, ${percent(right / n, 0)} right (${integer(n)})`);
  canvas.setAttribute('aria-label', `Confidence and accuracy per tenth: ${said.join('; ')}`);
  canvas.title = said.join('\n');
  const draw = () => {
    const style = getComputedStyle(document.documentElement), c = canvas.getContext('2d');
    c.clearRect(0, 0, canvas.width, canvas.height);
    c.fillStyle = style.getPropertyValue('--bar');
    bins.forEach(([n, , right], i) => {
      if (!n) return;
      const tall = (right / n) * canvas.height;
      c.fillRect((i * canvas.width) / 10 + 2, canvas.height - Math.max(tall, 2), canvas.width / 10 - 4, Math.max(tall, 2));
    });
    c.strokeStyle = style.getPropertyValue('--ink');
    c.lineWidth = 2;
    c.setLineDash([6, 5]);
    c.beginPath();
    c.moveTo(0, canvas.height);
    c.lineTo(canvas.width, 0);
    c.stroke();
    canvas.dataset.drawn = '1';
  };
  redraws.push(draw);
  draw();
  return canvas;
}

function matches(one) {
  if (filters.kind && one.kind !== filters.kind) return false;
  if (filters.severity && one.severity !== filters.severity) return false;
  const wanted = filters.text.trim().toLowerCase();
  if (!wanted) return true;
  const names = (one.classes || []).map((index) => `${fullName(index)} ${wnid(index)} ${index}`);
  return [one.title, ...names, ...(one.files || [])].some((text) => text.toLowerCase().includes(wanted));
}

function findingRow(rank, one) {
  const link = `#/finding/${rank}`;
  const numbers = [
    known(one.effect) ? h('span', { title: one.effectName }, amount(one)) : null,
    one.interval ? h('span', { class: 'quiet', title: '95 % interval' }, interval(one.interval)) : null,
    known(one.q) ? h('span', { class: 'quiet' }, 'q ', figure(one.q, 2)) : h('span', { class: 'quiet' }, 'ranking only'),
  ];
  return h('li', { class: 'finding' },
    h('span', { class: 'rank' }, rank),
    h('span', { class: 'badges' }, badge(one.severity), stamp()),
    h('div', { class: 'what' }, h('a', { class: 'title', href: link }, one.title), h('p', {}, one.detail), one.action ? h('p', { class: 'action' }, one.action) : null),
    h('span', { class: 'kind' }, kindName(one.kind)),
    h('span', { class: 'numbers' }, numbers),
    evidence(rank, one));
}

// One image: its photo, its pair map or its copy in training, and the finding's own page. Several:
// the first photos.
function evidence(rank, one) {
  const images = one.images || [], image = images.length === 1 && imageOf(images[0]);
  if (!image) return thumbnails(images, `finding/${rank}`, 4);
  const map = mapOf(image, 'pair'), words = meaning('pair', image.label, image.rival);
  return h('a', { class: 'thumbnails', href: `#/finding/${rank}`, title: image.file, 'aria-label': `Finding ${rank}` },
    h('img', { src: photoUrl(image.photo), alt: '', width: 56, height: 56 }),
    one.training ? trainingPhoto(one.training[0], 56) : mapCanvas(map, { photo: image.photo, size: 56, limit: () => map.limit, words, alone: true }));
}

// Findings of one image show its pair map beside its photo.
const mapped = (all) => all.map(([, one]) => one).filter((one) => !one.training && (one.images || []).length === 1).map((one) => one.images[0]);

function select(name, title, options, change) {
  const box = h('select', { onchange: () => { filters[name] = box.value; change(); }, 'aria-label': title },
    options.map(([value, text]) => h('option', { value, selected: filters[name] === value }, text)));
  return box;
}

function findingsPage() {
  const all = Object.entries(D.findings), [shown, total] = D.shown.findings;
  const count = (name, value) => all.filter(([, one]) => one[name] === value).length;
  const kinds = [...new Set(all.map(([, one]) => one.kind))];
  const levels = ['high', 'medium', 'low'].filter((level) => count('severity', level));
  const list = h('ol', { class: 'findings' }), status = h('p', { class: 'quiet', role: 'status' });
  let limit = BATCH;
  const more = h('button', { type: 'button', class: 'more', onclick: () => { limit += BATCH; fill(); } });
  const fill = () => {
    const found = all.filter(([, one]) => matches(one));
    list.replaceChildren(...found.slice(0, limit).map(([rank, one]) => findingRow(rank, one)));
    status.textContent = found.length === all.length ? '' : `${integer(found.length)} of ${integer(all.length)} findings match`;
    more.hidden = found.length <= limit;
    more.textContent = `Show ${integer(Math.min(BATCH, found.length - limit))} more of ${integer(found.length)}`;
  };
  const changed = () => { limit = BATCH; fill(); };
  const search = h('input', { type: 'search', id: 'search', placeholder: 'Class or file', 'aria-label': 'Search findings by class or file', value: filters.text, oninput: () => { filters.text = search.value; changed(); } });
  fill();
  const head = all.length
    ? levels.map((level) => h('span', { class: 'tally' }, badge(level), ` ${integer(count('severity', level))}`))
    : [h('span', { class: 'quiet' }, 'none')];
  return [
    heading('Findings', h('span', { class: 'tallies' }, head)),
    overview(),
    limitsBox(),
    all.length ? h('div', { class: 'filters', role: 'search' },
      select('kind', 'Kind', [['', 'all kinds'], ...kinds.map((kind) => [kind, `${kindName(kind)} (${count('kind', kind)})`])], changed),
      select('severity', 'Severity', [['', 'all severities'], ...levels.map((level) => [level, level])], changed),
      search, status) : h('p', { class: 'note' }, 'No finding. That is no proof of a clean folder: the Limits page says what so many images could have shown, and the Classes page where the model errs.'),
    omittedNote(shown, total, 'findings'), legend(mapped(all)), list, more];
}

function advice(one) {
  const parts = [['What to do', one.action], ['What would make it wrong', one.caveat]].filter(([, text]) => text);
  return parts.length ? h('dl', { class: 'advice' }, parts.map(([name, text]) => h('div', {}, h('dt', {}, name), h('dd', {}, text)))) : null;
}

function findingPage(rank) {
  const one = D.findings[rank];
  if (!one) return null;
  const [first, second] = one.classes || [], images = one.images || [];
  const single = images.length === 1 && imageOf(images[0]);
  const ranks = Object.keys(D.findings).filter((at) => at === String(rank) || matches(D.findings[at])), at = ranks.indexOf(String(rank));
  const step = (by, id, text) => (ranks[at + by] ? h('a', { href: `#/finding/${ranks[at + by]}`, id }, text) : h('span', { class: 'quiet' }, text));
  const fact = (name, ...value) => h('tr', {}, h('th', {}, name), h('td', {}, value));
  const total = Object.keys(D.findings).length;
  return [
    h('nav', { class: 'crumbs', 'aria-label': 'Place' }, h('a', { href: '#/' }, 'Findings'), h('span', {}, `${rank} of ${integer(total)}`),
      ranks.length < total ? h('span', {}, 'filtered') : null,
      h('span', { class: 'steps' }, step(-1, 'previous', '← previous'), step(1, 'next', 'next →'))),
    heading(one.title, badge(one.severity), stamp(), h('span', { class: 'kind' }, kindName(one.kind))),
    h('p', { class: 'lead' }, one.detail),
    advice(one),
    h('table', { class: 'facts' },
      one.classes ? fact('Classes', one.classes.slice(0, 20).map((index, i) => [i ? ', ' : '', classLink(index)]), one.classes.length > 20 ? ' …' : '') : null,
      one.classes && one.classes.length === 2 && D.pairs[`${first}/${second}`] ? fact('Pair', pairLink(first, second, `${className(first)} against ${className(second)}`)) : null,
      known(one.effect) ? fact('Effect', h('b', {}, amount(one)),
        one.interval ? ` (95 % interval ${interval(one.interval)})` : '', h('span', { class: 'quiet' }, ` ${one.effectName || ''}`)) : null,
      known(one.p) ? fact('p-value', figure(one.p, 2), one.null ? h('span', { class: 'quiet' }, ` against: ${one.null}`) : '') : null,
      known(one.q) ? fact('q-value', figure(one.q, 2), !known(one.p) && one.null ? h('span', { class: 'quiet' }, ` ${one.null}`) : '') : fact('Test', h('span', { class: 'quiet' }, known(one.p) ? 'of this finding alone, without an error rate over all' : 'none: ranked by score, without an error rate')),
      one.power ? fact('Power', one.power) : null),
    single ? [controls('scale'), panels(single, { listeners: [], at: null }),
      h('p', { class: 'sub' }, fileName(single.file), ' ', copyButton(one.files), ' ', h('a', { href: `#/image/${single.index}?from=finding/${rank}` }, 'all about this image')), trainingStrip(one)] : null,
    images.length && !single ? [controls(), h('h2', {}, 'Evidence ', h('small', {}, `${plural(one.imageCount, 'image')}, strongest first`)),
      omittedNote(images.length, one.imageCount, 'images'),
      legend(images), strip(images, { from: `finding/${rank}` }), trainingStrip(one),
      h('h2', {}, 'Files'), h('div', { class: 'files' }, copyButton(one.files), h('ol', {}, one.files.map((file) => h('li', {}, fileName(file)))))] : null,
  ];
}

function skippedPage() {
  const rows = Object.values(D.skipped), all = D.overall;
  const table = (heads, body) => h('div', { class: 'scroll' }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, heads.map(([text, number]) => h('th', { class: number ? 'n' : '', scope: 'col' }, text)))), h('tbody', {}, body)));
  return [heading('Skipped images'),
    h('p', { class: 'lead' }, `${plural(all.skipped, 'image')} could not be read${all.skipped === 1 ? ' and is' : ' and are'} in no other number of this report.`),
    rows.length < all.skipped ? h('p', { class: 'note' }, `${integer(rows.length)} of ${integer(all.skipped)} shown, to keep this file small; findings.json beside it names all.`) : null,
    rows.length ? table([['File'], ['Reason']], rows.map(([file, reason]) => h('tr', {}, h('td', {}, fileName(file)), h('td', {}, h('bdi', {}, reason))))) : null,
    unlooked() ? [h('h2', {}, 'Not looked at ', h('small', {}, plural(unlooked(), 'file'))),
      h('p', { class: 'quiet' }, 'Files of the folder that took no part: not listed, not taken for images, or of a kind that cannot be decoded. They are in no number of this report.'),
      table([['Kind'], ['Files', true]], all.unlooked.map(([kind, count]) => h('tr', {}, h('td', {}, h('bdi', {}, kind)), h('td', { class: 'n' }, integer(count)))))] : null];
}
