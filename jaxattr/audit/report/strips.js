// Rows of images: a photo, its map, and one line that says what makes it a member.
function tile(index, { from, map = 'pair', line, limit, size = 112 }) {
  const image = imageOf(index);
  if (!image) return h('span', { class: 'tile absent' }, h('span', { class: 'blank' }, `#${index}`), h('span', { class: 'line quiet' }, 'left out'));
  const words = meaning(map, image.label, image.rival);
  return h('a', { class: 'tile', href: `#/image/${index}?from=${from}`, title: image.file },
    h('img', { src: photoUrl(image.photo), alt: `Image ${index}, labelled ${className(image.label)}`, width: size, height: Math.round((size * ROWS) / COLUMNS) }),
    mapCanvas(mapOf(image, map), { photo: image.photo, size, limit, words, rows: true }),
    h('span', { class: 'line' }, line || marginLine(image)));
}

function marginLine(image) {
  const margin = logitOf(image, image.label) - logitOf(image, image.rival);
  return h('span', {}, h('bdi', {}, className(margin >= 0 ? image.label : image.rival)), ` by ${figure(Math.abs(margin), 2)}`);
}

// One limit for the row, so that its maps can be compared. Whoever puts it on a page puts the legend
// of its kind of maps above it.
function strip(indices, { from, map = 'pair', line }) {
  const shown = indices.map(imageOf).filter(Boolean);
  const largest = Math.max(0, ...shown.map((image) => mapOf(image, map).limit));
  return h('div', { class: 'strip' }, indices.map((index) => tile(index, { from, map, line: line && line(index), limit: () => largest })));
}

function thumbnails(indices, from, count) {
  const shown = indices.filter((index) => D.images[index]).slice(0, count);
  return h('span', { class: 'thumbnails' }, shown.map((index) => {
    const image = imageOf(index);
    return h('a', { href: `#/image/${index}?from=${from}`, title: image.file },
      h('img', { src: photoUrl(image.photo), alt: `Image ${index}, labelled ${className(image.label)}`, width: 56, height: 56, loading: 'lazy' }));
  }));
}

// A mean map with its colour bar; mean maps are shares, so they have their own scale each.
function meanPanel(record, photo, words, size, caption) {
  const map = meanMap(record.map);
  return h('figure', { class: 'panel mean' },
    mapCanvas(map, { photo, size, limit: () => map.limit, words, alone: true }),
    colourBar(map, { limit: () => map.limit, words, alone: true }),
    h('figcaption', {}, caption, record.images > 1 ? ` Consistency ${figure(record.consistency, 2)}.` : ''));
}

function memberLine(members) {
  const margins = new Map(members.map(([index, margin, agreement]) => [index, [margin, agreement]]));
  return (label, rival) => (index) => {
    const [margin, agreement] = margins.get(index);
    return h('span', { title: `margin ${signed(margin)} (logits), cosine with the mean pair map ${figure(agreement, 2)}` },
      h('bdi', {}, className(margin >= 0 ? label : rival)), ` by ${figure(Math.abs(margin), 2)}`);
  };
}

function pairStrips(label, rival, record) {
  const from = `pair/${label}/${rival}`;
  const part = (title, note, members) => members.length
    ? h('section', { class: 'strips' }, h('h3', {}, title, ' ', h('small', {}, note)),
      strip(members.map((one) => one[0]), { from, line: memberLine(members)(label, rival) }))
    : null;
  return h('div', {}, legend([...record.suspicious, ...record.typical].map((one) => one[0])), h('div', { class: 'sets' },
    part('Most suspicious', 'smallest margin; photo above, pair map below', record.suspicious),
    part('Most typical', 'clear, and closest to the mean pair map', record.typical)));
}

// Images of the training folder: they have no page here, only a photo, a label and a file name.
const trainingPhoto = ([file, label, photo], size) => photo
  ? h('img', { src: photoUrl(photo), alt: `Training image, labelled ${className(label)}`, title: file, width: size, height: size })
  : h('span', { class: 'blank', title: file });

function trainingStrip(one) {
  if (!one.training) return null;
  const [shown, total] = [one.training.length, one.trainingCount];
  return [h('h2', {}, 'In the training folder ', h('small', {}, plural(total, 'image'))), omittedNote(shown, total, 'images'),
    h('div', { class: 'strip training' }, one.training.map((entry) => h('figure', { class: 'tile' }, trainingPhoto(entry, 112),
      h('figcaption', {}, h('span', { class: 'line' }, 'labelled ', h('bdi', {}, className(entry[1]))), fileName(entry[0])))))];
}
