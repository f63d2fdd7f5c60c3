import com.fasterxml.jackson.core.JsonGenerator;
import com.refinitiv.ema.access.Data;
import com.refinitiv.ema.access.DataType.DataTypes;
import com.refinitiv.ema.access.EmaFactory;
import com.refinitiv.ema.access.FieldEntry;
import com.refinitiv.ema.access.OmmReal;
import com.refinitiv.ema.access.OmmTime;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.util.HexFormat;

/**
 * One field as the SDK decoded it, kept apart from the SDK's own objects, which are reused after a callback.
 *
 * @param name the acronym
 * @param type the RWF type: REAL, UINT, INT, ENUM, DATE, TIME, RMTES, ASCII, UTF8
 * @param value what is stored, as text; null: blank
 * @param bytes what is stored for a text, in hex, for an enumeration its number; else null
 * @param again the same field for an outgoing message
 */
record Field(String name, String type, String value, String bytes, FieldEntry again) {

    static Field of(FieldEntry entry) {
        int fid = entry.fieldId();
        String name = entry.name();
        boolean blank = entry.code() == Data.DataCode.BLANK;
        FieldEntry again = EmaFactory.createFieldEntry();
        switch (entry.loadType()) {
            case DataTypes.REAL:
                if (blank) return new Field(name, "REAL", null, null, again.codeReal(fid));
                OmmReal real = entry.real();
                again.real(fid, real.mantissa(), real.magnitudeType());
                return new Field(name, "REAL", text(real), null, again);
            case DataTypes.UINT:
                if (blank) return new Field(name, "UINT", null, null, again.codeUInt(fid));
                var number = entry.ommUIntValue().bigIntegerValue();
                return new Field(name, "UINT", number.toString(), null, again.uintValue(fid, number));
            case DataTypes.INT:
                if (blank) return new Field(name, "INT", null, null, again.codeInt(fid));
                return new Field(name, "INT", Long.toString(entry.intValue()), null, again.intValue(fid, entry.intValue()));
            case DataTypes.ENUM:
                if (blank) return new Field(name, "ENUM", null, null, again.codeEnum(fid));
                String display = entry.hasEnumDisplay() ? entry.enumDisplay() : Integer.toString(entry.enumValue());
                again.enumValue(fid, entry.enumValue());
                return new Field(name, "ENUM", display, Integer.toString(entry.enumValue()), again);
            case DataTypes.DATE:
                if (blank) return new Field(name, "DATE", null, null, again.codeDate(fid));
                var date = entry.date();
                String iso = String.format("%04d-%02d-%02d", date.year(), date.month(), date.day());
                return new Field(name, "DATE", iso, null, date(again, fid, date.year(), date.month(), date.day()));
            case DataTypes.TIME:
                if (blank) return new Field(name, "TIME", null, null, again.codeTime(fid));
                return new Field(name, "TIME", text(entry.time()), null, time(again, fid, entry.time()));
            case DataTypes.RMTES:
                if (blank) return new Field(name, "RMTES", null, null, again.codeRmtes(fid));
                ByteBuffer rmtes = copy(entry.rmtes().asHex());
                return new Field(name, "RMTES", entry.rmtes().toString(), hex(rmtes), again.rmtes(fid, rmtes));
            case DataTypes.ASCII:
                if (blank) return new Field(name, "ASCII", null, null, again.codeAscii(fid));
                String ascii = entry.ascii().ascii();
                return new Field(name, "ASCII", ascii, hex(copy(entry.ascii().asHex())), again.ascii(fid, ascii));
            case DataTypes.UTF8:
                if (blank) return new Field(name, "UTF8", null, null, again.codeUtf8(fid));
                ByteBuffer utf8 = copy(entry.utf8().asHex());
                return new Field(name, "UTF8", entry.utf8().toString(), hex(utf8), again.utf8(fid, utf8));
            default:
                throw new IllegalArgumentException(name + " has a type that no contributor uses: " + entry.loadType());
        }
    }

    void write(JsonGenerator json) throws IOException {
        json.writeStartObject();
        json.writeStringField("name", name);
        json.writeStringField("type", type);
        json.writeStringField("value", value);
        if (bytes != null) json.writeStringField("bytes", bytes);
        json.writeEndObject();
    }

    private static String text(OmmReal real) {
        return switch (real.magnitudeType()) {
            case OmmReal.MagnitudeType.INFINITY -> "Inf";
            case OmmReal.MagnitudeType.NEG_INFINITY -> "-Inf";
            case OmmReal.MagnitudeType.NOT_A_NUMBER -> "NaN";
            default -> real.magnitudeType() <= OmmReal.MagnitudeType.EXPONENT_POS_7
                ? BigDecimal.valueOf(real.mantissa(), OmmReal.MagnitudeType.EXPONENT_0 - real.magnitudeType()).toPlainString()
                : real.toString();
        };
    }

    /** {@code HH:MM:SS}, with as many threes of fraction digits as are not zero. */
    private static String text(OmmTime time) {
        String whole = String.format("%02d:%02d:%02d", time.hour(), time.minute(), time.second());
        if (time.nanosecond() != 0)
            return whole + String.format(".%03d%03d%03d", time.millisecond(), time.microsecond(), time.nanosecond());
        if (time.microsecond() != 0) return whole + String.format(".%03d%03d", time.millisecond(), time.microsecond());
        return time.millisecond() != 0 ? whole + String.format(".%03d", time.millisecond()) : whole;
    }

    /** What a publisher can store, EMA may refuse to encode: it is then served as blank. */
    private static FieldEntry date(FieldEntry again, int fid, int year, int month, int day) {
        try {
            return again.date(fid, year, month, day);
        } catch (RuntimeException impossible) {
            return again.codeDate(fid);
        }
    }

    private static FieldEntry time(FieldEntry again, int fid, OmmTime time) {
        try {
            return again.time(fid, time.hour(), time.minute(), time.second(),
                time.millisecond(), time.microsecond(), time.nanosecond());
        } catch (RuntimeException impossible) {
            return again.codeTime(fid);
        }
    }

    private static ByteBuffer copy(ByteBuffer seen) {
        byte[] bytes = new byte[seen.remaining()];
        seen.duplicate().get(bytes);
        return ByteBuffer.wrap(bytes);
    }

    private static String hex(ByteBuffer buffer) {
        return HexFormat.of().formatHex(buffer.array());
    }
}
