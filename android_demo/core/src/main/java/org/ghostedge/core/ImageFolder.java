package org.ghostedge.core;

import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The labelled images of a folder, with the ids that ghostedge.data.datasets gives them, so that ledgers pair.
 *
 * <p>Class folders, or a flat folder; val.txt or labels.csv in it or one folder above. Labels are logits' indices; -1
 * where there is no label file and no class folder.
 */
public final class ImageFolder {
    private static final String[] SUFFIXES = {
        ".jpeg", ".jpg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif"
    };
    private static final Pattern HUGGING_FACE_NAME =
            Pattern.compile("(ILSVRC2012_val_\\d{8}|n\\d{8}_\\d+)_n\\d{8}(\\.\\w+)");

    /** Code points, as Python sorts text; String.compareTo sorts UTF-16 units. */
    static final Comparator<String> BY_CODE_POINT = new Comparator<String>() {
        @Override
        public int compare(String a, String b) {
            int i = 0;
            while (i < a.length() && i < b.length()) {
                int left = a.codePointAt(i);
                int right = b.codePointAt(i);
                if (left != right) {
                    return Integer.compare(left, right);
                }
                i += Character.charCount(left);
            }
            return Integer.compare(a.length(), b.length());
        }
    };

    /** One image. */
    public static final class Item {
        public final String id;
        public final File file;
        /** -1: unknown. */
        public final int label;

        Item(String id, File file, int label) {
            this.id = id;
            this.file = file;
            this.label = label;
        }
    }

    private ImageFolder() {}

    /**
     * Lists a folder.
     *
     * @param labels the model's class names; may be empty
     * @param classes the model's logits
     * @return at least one image, sorted by id
     * @throws DemoException no image, labels that are damaged, missing for an image or not this model's
     */
    public static List<Item> list(File root, List<String> labels, int classes) throws DemoException {
        List<String> flat = names(root, false);
        List<String> folders = names(root, true);
        List<String> names = new ArrayList<>();
        for (String folder : folders) {
            for (String name : names(new File(root, folder), false)) {
                names.add(folder + "/" + name);
            }
        }
        if (!flat.isEmpty() && !names.isEmpty()) {
            throw new DemoException(root + " holds images beside folders with more; keep one of the two");
        }
        boolean classFolders = flat.isEmpty();
        names = classFolders ? names : flat;
        if (names.isEmpty()) {
            throw new DemoException("there is no image in " + root + "; push some: adb push val/ " + root);
        }
        Map<String, Integer> table = labelFile(root);
        Map<String, Integer> places = table == null && classFolders ? folderLabels(folders, labels, classes) : null;
        Map<String, String> ids = ids(names);
        List<Item> items = new ArrayList<>();
        for (String name : names) {
            int label = table != null ? labelOf(table, name)
                    : places != null ? places.get(name.substring(0, name.indexOf('/'))) : -1;
            if (label >= classes) {
                throw new DemoException("image '" + name + "' has label " + label + ", but the model gives " + classes
                        + " classes: they do not belong together");
            }
            items.add(new Item(ids.get(name), new File(root, name), label));
        }
        items.sort(new Comparator<Item>() {
            @Override
            public int compare(Item a, Item b) {
                return BY_CODE_POINT.compare(a.id, b.id);
            }
        });
        return items;
    }

    private static List<String> names(File folder, boolean folders) throws DemoException {
        File[] files = folder.listFiles();
        if (files == null) {
            throw new DemoException(folder + " is not a folder that can be read; make it with adb push");
        }
        List<String> names = new ArrayList<>();
        for (File file : files) {
            String name = file.getName();
            if (!name.startsWith(".") && (folders ? file.isDirectory() : isImage(name) && file.isFile())) {
                names.add(name);
            }
        }
        Collections.sort(names, BY_CODE_POINT);
        return names;
    }

    private static boolean isImage(String name) {
        for (String suffix : SUFFIXES) {
            if (name.toLowerCase(Locale.ROOT).endsWith(suffix)) {
                return true;
            }
        }
        return false;
    }

    /** Name -> id: file names, with the class folder where file names repeat. */
    private static Map<String, String> ids(List<String> names) {
        Map<String, String> ids = new HashMap<>();
        for (String name : names) {
            Matcher matcher = HUGGING_FACE_NAME.matcher(name.substring(name.lastIndexOf('/') + 1));
            ids.put(name, matcher.replaceAll("$1$2"));
        }
        Set<String> different = new HashSet<>(ids.values());
        if (different.size() < names.size()) {
            for (String name : names) {
                ids.put(name, name);
            }
        }
        return ids;
    }

    private static Map<String, Integer> folderLabels(List<String> folders, List<String> labels, int classes)
            throws DemoException {
        Map<String, Integer> places = new HashMap<>();
        boolean byName = new HashSet<>(labels).containsAll(folders);
        if (!byName && folders.size() != classes) {
            throw new DemoException("there are " + folders.size() + " class folders but the model gives " + classes
                    + " classes; put a val.txt with 'name index' lines beside the folders");
        }
        for (int i = 0; i < folders.size(); i++) {
            places.put(folders.get(i), byName ? labels.indexOf(folders.get(i)) : i);
        }
        return places;
    }

    private static int labelOf(Map<String, Integer> table, String name) throws DemoException {
        Integer label = table.get(name);
        label = label != null ? label : table.get(name.substring(name.lastIndexOf('/') + 1));
        if (label == null) {
            throw new DemoException("image '" + name + "' has no label in the label file; complete it");
        }
        return label;
    }

    private static Map<String, Integer> labelFile(File root) throws DemoException {
        for (File folder : new File[] {root, root.getAbsoluteFile().getParentFile()}) {
            for (String name : new String[] {"val.txt", "labels.csv"}) {
                File file = new File(folder, name);
                if (folder != null && file.isFile()) {
                    return readLabels(file);
                }
            }
        }
        return null;
    }

    private static Map<String, Integer> readLabels(File file) throws DemoException {
        boolean csv = file.getName().endsWith(".csv");
        Map<String, Integer> table = new TreeMap<>();
        try (BufferedReader reader = new BufferedReader(
                new InputStreamReader(new FileInputStream(file), StandardCharsets.UTF_8))) {
            int nameColumn = 0;
            int labelColumn = 1;
            String line;
            for (int number = 1; (line = reader.readLine()) != null; number++) {
                line = number == 1 && line.startsWith("\ufeff") ? line.substring(1) : line;
                List<String> cells = csv ? csvCells(line) : textCells(line);
                if (csv && number == 1) {
                    nameColumn = cells.indexOf("file");
                    labelColumn = cells.indexOf("index");
                    if (nameColumn < 0 || labelColumn < 0) {
                        throw new DemoException(file + " needs the columns file and index");
                    }
                    continue;
                }
                if (line.trim().isEmpty()) {
                    continue;
                }
                boolean whole = Math.max(nameColumn, labelColumn) < cells.size()
                        && !cells.get(nameColumn).isEmpty() && cells.get(labelColumn).matches("[0-9]{1,9}");
                if (!whole) {
                    throw new DemoException("line " + number + " of " + file + " is not an image name and a label");
                }
                Integer label = Integer.valueOf(cells.get(labelColumn));
                String name = cells.get(nameColumn);
                Integer earlier = table.put(name, label);
                if (earlier != null && !earlier.equals(label)) {
                    throw new DemoException("line " + number + " of " + file + " gives " + name + " a second label");
                }
            }
        } catch (IOException exc) {
            throw new DemoException(file + " cannot be read: " + exc.getMessage(), exc);
        }
        return table;
    }

    /** Everything before the last space, and what is after it. */
    private static List<String> textCells(String line) {
        List<String> cells = new ArrayList<>();
        String text = line.trim();
        int at = Math.max(text.lastIndexOf(' '), text.lastIndexOf('\t'));
        cells.add(text.substring(0, Math.max(at, 0)).trim());
        cells.add(text.substring(at + 1));
        return cells;
    }

    private static List<String> csvCells(String line) {
        List<String> cells = new ArrayList<>();
        StringBuilder cell = new StringBuilder();
        boolean quoted = false;
        for (int i = 0; i < line.length(); i++) {
            char c = line.charAt(i);
            if (c == '"' && quoted && i + 1 < line.length() && line.charAt(i + 1) == '"') {
                cell.append(c);
                i++;
            } else if (c == '"') {
                quoted = !quoted;
            } else if (c == ',' && !quoted) {
                cells.add(cell.toString());
                cell.setLength(0);
            } else {
                cell.append(c);
            }
        }
        cells.add(cell.toString());
        return cells;
    }
}
