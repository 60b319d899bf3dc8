package org.ghostedge.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import javax.imageio.ImageIO;
import org.junit.Test;

/**
 * Parity mode: a folder of images becomes a ledger, also when it is killed on the way.
 *
 * <p>Python gives the images in -Dghostedge.images and reads what is left in -Dghostedge.out; without it the test makes
 * its own.
 */
public class LedgerRunTest {
    private static final Progress SILENT = new Progress() {
        @Override
        public void progress(String text, int done, int total) {
            // not looked at here
        }
    };

    private static final LedgerRun.Decoder PNG = new LedgerRun.Decoder() {
        @Override
        public Pixels decode(File file) throws DemoException {
            try {
                BufferedImage image = ImageIO.read(file);
                if (image == null) {
                    throw new DemoException("not an image that is decoded here");
                }
                byte[] rgb = new byte[3 * image.getWidth() * image.getHeight()];
                for (int i = 0; i < rgb.length / 3; i++) {
                    int pixel = image.getRGB(i % image.getWidth(), i / image.getWidth());
                    rgb[3 * i] = (byte) (pixel >> 16);
                    rgb[3 * i + 1] = (byte) (pixel >> 8);
                    rgb[3 * i + 2] = (byte) pixel;
                }
                return new RgbPixels(rgb, image.getWidth(), image.getHeight());
            } catch (IOException exc) {
                throw new DemoException("cannot be read: " + exc.getMessage(), exc);
            }
        }
    };

    private static File images() throws Exception {
        String given = System.getProperty("ghostedge.images");
        if (given != null) {
            return new File(given);
        }
        File folder = Files.createTempDirectory("images").toFile();
        StringBuilder labels = new StringBuilder();
        for (int i = 0; i < 40; i++) {
            BufferedImage image = new BufferedImage(20 + i, 60 - i, BufferedImage.TYPE_INT_RGB);
            image.setRGB(3, 3, 0x123456 * i);
            ImageIO.write(image, "png", new File(folder, "image" + i + ".png"));
            labels.append("image").append(i).append(".png ").append(i % 4).append('\n');
        }
        put(folder, "image99.png", "this is not a picture");
        put(folder, "val.txt", labels + "image99.png 1\n");
        return folder;
    }

    private static void put(File folder, String name, String text) throws IOException {
        folder.mkdirs();
        Files.write(new File(folder, name).toPath(), text.getBytes(StandardCharsets.UTF_8));
    }

    private static LedgerRun ledger(File folder, boolean logits) throws Exception {
        return ledger(folder, logits, false);
    }

    private static LedgerRun ledger(File folder, boolean logits, boolean gpu) throws Exception {
        ModelFile model = TestData.linear();
        Description description = Description.of(model.name, model.bytes, new int[] {1, 8, 8, 3});
        List<ImageFolder.Item> items = ImageFolder.list(folder, description.labels, 4);
        Map<String, Object> host = new LinkedHashMap<>();
        host.put("machine", "aarch64");
        host.put("system", "Android 14");
        return new LedgerRun(model, description, items, new Classifier(new FakeEngine(8), description), PNG, logits,
                host, LedgerRun.runtime(new FakeEngine.Factory(), new EngineSettings(4, true, gpu), "f32"));
    }

    @Test
    public void aFolderBecomesALedger() throws Exception {
        File images = images();
        File out = TestData.out();
        ledger(images, false).run(new File(out, "phone.jsonl"), new Cancellation(), SILENT);
        ledger(images, true).run(new File(out, "phone_logits.jsonl"), new Cancellation(), SILENT);
        List<String> lines = Files.readAllLines(new File(out, "phone.jsonl").toPath(), StandardCharsets.UTF_8);
        assertEquals(ImageFolder.list(images, Collections.<String>emptyList(), 4).size() + 2, lines.size());
        assertEquals("ledger", Json.parseObject(lines.get(0)).get("kind"));
    }

    @Test
    public void aKilledRunGoesOnAndLeavesNoTrace() throws Exception {
        File images = images();
        File folder = Files.createTempDirectory("ledger").toFile();
        File whole = new File(folder, "whole.jsonl");
        File killed = new File(folder, "killed.jsonl");
        ledger(images, true).run(whole, new Cancellation(), SILENT);
        for (final int stop : new int[] {3, 17, 20}) {
            final Cancellation cancellation = new Cancellation();
            try {
                ledger(images, true).run(killed, cancellation, new Progress() {
                    @Override
                    public void progress(String text, int done, int total) {
                        if (done >= stop) {
                            cancellation.cancel("stopped by the user");
                        }
                    }
                });
                fail("it was cancelled");
            } catch (DemoException exc) {
                assertEquals("stopped by the user", exc.getMessage());
            }
            assertFalse(killed.exists());
            // A kill amid a write: the last row is cut short, at last by its end of line alone.
            try (RandomAccessFile file = new RandomAccessFile(WholeFile.partial(killed), "rw")) {
                file.setLength(file.length() - (stop == 20 ? 1 : 30));
            }
        }
        ledger(images, true).run(killed, new Cancellation(), SILENT);
        assertArrayEquals(Files.readAllBytes(whole.toPath()), Files.readAllBytes(killed.toPath()));
        assertFalse(WholeFile.partial(killed).exists());
    }

    @Test
    public void rowsOfAnotherRunAreNotTaken() throws Exception {
        File images = images();
        File folder = Files.createTempDirectory("ledger").toFile();
        File ledger = new File(folder, "a.jsonl");
        put(folder, ".partial-a.jsonl", "{\"kind\":\"ledger\",\"another\":\"run\"}\n{\"image_id\":\"image0.png\"}\n");
        ledger(images, false).run(ledger, new Cancellation(), SILENT);
        File fresh = new File(folder, "b.jsonl");
        ledger(images, false).run(fresh, new Cancellation(), SILENT);
        assertArrayEquals(Files.readAllBytes(fresh.toPath()), Files.readAllBytes(ledger.toPath()));
    }

    @Test
    public void foldersOfEveryLayoutAreListed() throws Exception {
        File classes = Files.createTempDirectory("classes").toFile();
        put(new File(classes, "cat"), "b.JPEG", "x");
        put(new File(classes, "dog"), "a.jpg", "x");
        put(new File(classes, "dog"), ".hidden.jpg", "x");
        List<ImageFolder.Item> items = ImageFolder.list(classes, Arrays.asList("fox", "dog", "cat"), 3);
        assertEquals("a.jpg", items.get(0).id);
        assertEquals(1, items.get(0).label);
        assertEquals(2, items.get(1).label);
        assertEquals(1, ImageFolder.list(classes, Collections.<String>emptyList(), 2).get(0).label);
        put(new File(classes, "cat"), "a.jpg", "x");
        assertEquals("cat/a.jpg", ImageFolder.list(classes, Collections.<String>emptyList(), 2).get(0).id);

        File flat = Files.createTempDirectory("flat").toFile();
        put(flat, "ILSVRC2012_val_00000293_n02110627.JPEG", "x");
        assertEquals(-1, ImageFolder.list(flat, Collections.<String>emptyList(), 2).get(0).label);
        put(flat, "labels.csv", "file,synset,index\n\"ILSVRC2012_val_00000293_n02110627.JPEG\",n1,252\n");
        ImageFolder.Item item = ImageFolder.list(flat, Collections.<String>emptyList(), 1000).get(0);
        assertEquals("ILSVRC2012_val_00000293.JPEG", item.id);
        assertEquals(252, item.label);

        refused(flat, 200, "252");
        refused(new File(flat, "absent"), 2, "not a folder");
        refused(classes, 5, "class folders");
        put(flat, "labels.csv", "name,index\n");
        refused(flat, 1000, "columns");
        put(flat, "labels.csv", "file,index\nx.jpg,-3\n");
        refused(flat, 1000, "line 2");
        put(flat, "labels.csv", "file,index\nx.jpg,3\n");
        refused(flat, 1000, "no label");
        new File(flat, "sub").mkdirs();
        put(new File(flat, "sub"), "a.jpg", "x");
        refused(flat, 1000, "beside folders");
        refused(Files.createTempDirectory("empty").toFile(), 2, "no image");
    }

    private static void refused(File folder, int classes, String why) {
        try {
            ImageFolder.list(folder, Collections.<String>emptyList(), classes);
            fail(why);
        } catch (DemoException exc) {
            assertTrue(exc.getMessage(), exc.getMessage().contains(why));
        }
    }
}
